"""Load a diffusers pipeline from its folder, without what rendering from embeddings needs not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phosphene.errors import AssetError, InputError
from phosphene.storage import read_json

__all__ = [
    "load_part",
    "load_pipeline",
    "weights_fingerprint",
    "weights_variant",
    "without_bars",
]

# Encoders and checkers of pictures; embeddings come from a brain.
UNUSED = (
    "image_encoder",
    "feature_extractor",
    "image_feature_extractor",
    "safety_checker",
    "vision_language_encoder",
)


def load_pipeline(
    kind: str, folder: Path, *, network: str = "unet", keep: Collection[str] = ()
) -> Any:
    """Return the pipeline of a folder in float32, whatever precision its files have.

    Parameters
    ----------
    kind : str
        Class in diffusers.
    folder : Path
        As ``save_pretrained`` of diffusers writes it; parts that are not needed may be missing.
    network : str
        Name of the part that denoises.
    keep : collection of str
        Encoders of pictures that are needed after all.

    Raises
    ------
    AssetError
        If a needed part is missing.
    InputError
        If the folder is of another pipeline, or its files are damaged.
    """
    import diffusers
    import torch

    wanted = getattr(diffusers, kind)
    listed = read_json(folder / "model_index.json")
    # The folder may be that of a larger pipeline with the same parts.
    known = {name for names in wanted._get_signature_keys(wanted) for name in names}
    parts = [name for name, value in listed.items() if isinstance(value, list) and name in known]
    unused = [name for name in UNUSED if name not in keep]
    left_out = {name: None for name in unused if name in parts}
    for name in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"):
        if name in parts and not (folder / name).is_dir():
            left_out[name] = None  # encoded prompts may have been kept
    missing = [
        name
        for name in parts
        if name not in left_out and listed[name][0] and not (folder / name).is_dir()
    ]
    if missing:
        raise AssetError(
            f"{folder} lacks {', '.join(missing)}, which its model_index.json lists",
            expected="every part of the pipeline",
            remedy="fetch it again with `phosphene models fetch`",
        )
    if unknown := sorted(set(_needed(wanted)) - set(parts) - set(unused)):
        raise InputError(
            f"{folder} holds a {listed.get('_class_name')} without {', '.join(unknown)}",
            expected=f"the parts of a {kind}",
            remedy="name the folder of the right model",
        )
    more = {"requires_safety_checker": False} if "safety_checker" in parts else {}
    try:
        with without_bars():
            pipeline = wanted.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                variant=weights_variant(folder / network),
                dtype=torch.float32,
                **left_out,
                **more,
            )
    except Exception as error:  # damaged files and shapes that differ raise many kinds
        raise InputError(
            f"the {kind} in {folder} could not be loaded ({error})",
            expected="the files of that pipeline, weights in safetensors",
            remedy="fetch them again with `phosphene models fetch`",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep the bars of diffusers and transformers off: loading has nothing to tell."""
    import diffusers
    import transformers

    switches: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    shown = [one for one in switches if one.is_progress_bar_enabled()]
    for one in shown:
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one in shown:
            one.enable_progress_bar()


def load_part(kind: Any, folder: Path) -> Any:
    """Return one network of diffusers from its folder in float32.

    Raises
    ------
    InputError
        If its files are damaged or of another network.
    """
    import torch

    try:
        network = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            variant=weights_variant(folder),
            dtype=torch.float32,
        )
    except Exception as error:  # damaged files and shapes that differ raise many kinds
        raise InputError(
            f"the {kind.__name__} in {folder} could not be loaded ({error})",
            expected="config.json and weights in safetensors",
            remedy="fetch them again with `phosphene models fetch`",
        ) from error
    return network


def weights_variant(folder: Path) -> str | None:
    """Return ``fp16`` where the weights in a folder are only there in half precision."""
    files = [file.name for file in folder.glob("*.safetensors")]
    return "fp16" if files and all(".fp16" in name for name in files) else None


def weights_fingerprint(network: Any) -> str:
    """Return the identity of weights: names, shapes and first numbers, in half precision.

    Reading all of several gigabytes at every start would take longer than rendering a picture.
    """
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.detach().flatten()[:16].half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _needed(kind: Any) -> list[str]:
    """Return the parts that a pipeline class cannot be built without."""
    expected, optional = kind._get_signature_keys(kind)
    return [name for name in expected if name not in optional]
