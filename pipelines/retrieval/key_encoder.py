"""Pictures, texts and predicted embeddings become the vectors that an index compares.

A key is the target's embedding, flattened; or, for the target of a model with a search
projection, its projection: that is where predictions of brains find their picture best.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.schemas import SearchSpace, TargetSpec
from phosphene.storage import hash_bytes

if TYPE_CHECKING:
    from phosphene.priors.retrieval import RetrievalProjector

__all__ = [
    "KeyEncoder",
    "absolute_name",
    "keys_of",
    "open_encoder",
    "projector_hash",
    "unknown_space",
]

Array = np.ndarray[Any, Any]
GIVEN = "given:"  # names a space whose network is not here
ALONE = ("efficientnet-lite0",)  # targets that need no options and bring their weights along


class KeyEncoder:
    """A target as a search engine uses it.

    Parameters
    ----------
    name : str
        As the user named the target.
    target : StimulusEncoder
    projector : RetrievalProjector, optional
        Of the model whose target it is.
    """

    def __init__(
        self, name: str, target: StimulusEncoder, projector: RetrievalProjector | None = None
    ) -> None:
        self.name, self.target, self.projector = name, target, projector
        spec = target.spec
        size = int(np.prod(spec.shape))
        self.space = SearchSpace(
            target=spec,
            projector="" if projector is None else projector_hash(projector),
            dimension=size if projector is None else int(projector.weights.shape[1]),
        )

    def pictures(self, pictures: Iterable[Pictures]) -> Array:
        """Return keys (n, d) of uint8 pictures (H, W, C), in float32."""
        return keys_of(self.target.encode(pictures), self.projector)

    def texts(self, texts: Sequence[str]) -> Array:
        """Return keys (n, d) of texts, in float32.

        A standardised target is ``(features - mean) / scale``, so that the product of a text's
        and a picture's features is, up to a constant, that of ``scale * text`` and the target:
        this ranks pictures as CLIP does, apart from their lengths after standardisation.

        Raises
        ------
        UsageError
            If the target is not the pooled output of an open_clip model.
        """
        from phosphene.encoders.stimulus.open_clip import OpenClipTarget

        target = self.target
        if (
            not isinstance(target, OpenClipTarget)
            or target.output != "pooled"
            or self.projector is not None
        ):
            raise UsageError(
                f"a text for an index of {self.space.describe()}",
                expected="an index of an open_clip model's pooled output, where texts have a place",
                remedy="build one with --target open-clip:NAME:TAG or open-clip:local-dir:FOLDER",
            )
        scaled = target.encode_text(texts) * target.target_scale
        return np.asarray(scaled.float().cpu().numpy())


def keys_of(embedding: Any, projector: RetrievalProjector | None) -> Array:
    """Return keys (n, d) of target embeddings (n, ...), a tensor or an array, in float32."""
    import torch

    if isinstance(embedding, np.ndarray):  # memory-mapped or turned round: torch takes neither
        embedding = torch.from_numpy(np.array(embedding, dtype=np.float32))
    flat = embedding.detach().float().flatten(1)
    found = flat if projector is None else projector.project(flat)
    return np.asarray(found.cpu().numpy(), dtype=np.float32)


def projector_hash(projector: RetrievalProjector) -> str:
    """Return the identity of a search projection."""
    tensors = sorted(projector.tensors().items())
    content = b"".join(name.encode() + value.cpu().numpy().tobytes() for name, value in tensors)
    return hash_bytes(content)[:16]


def unknown_space(name: str, dimension: int) -> SearchSpace:
    """Return the space of ready embeddings that ``given:NAME`` stands for."""
    spec = TargetSpec(
        name=name.removeprefix(GIVEN),
        layer="as given",
        output="pooled",
        shape=(dimension,),
        preprocessing={},
    )
    return SearchSpace(target=spec, dimension=dimension)


def absolute_name(name: str) -> str:
    """Return a target's name that means the same in every folder."""
    head, mark, place = name.rpartition("local-dir:")
    if mark:
        return f"{head}{mark}{Path(place).resolve()}"
    return str(Path(name).resolve()) if "/" in name and Path(name).is_dir() else name


def open_encoder(name: str, *, device: str = "cpu") -> KeyEncoder:
    """Open a target by name.

    Parameters
    ----------
    name : str
        ``efficientnet-lite0``; ``open-clip:NAME:TAG``, ``open-clip:local-dir:FOLDER`` (pooled
        output); ``pixels:28x3``; ``local-dir:FOLDER`` of a target or of a model; a known model,
        whose target and search projection are taken.
    device : str

    Raises
    ------
    UsageError
        If the name is ``given:NAME``, which stands for a space without a network.
    """
    if name.startswith(GIVEN):
        raise UsageError(
            f"pictures or texts for the space {name!r}, whose network is not known here",
            expected="the name of a target that can be opened",
            remedy="search with ready embeddings in Python, or build the index with --target NAME",
        )
    if name.startswith("open-clip:"):
        encoder = KeyEncoder(name, _open_clip(name.removeprefix("open-clip:")))
    elif name in ALONE:
        encoder = KeyEncoder(name, STIMULUS_ENCODERS.get(name)())
    else:
        encoder = _from_folder(name)
    for part in (encoder.target, encoder.projector):
        if part is not None and hasattr(part, "to"):
            part.to(device)
    return encoder


def _open_clip(name: str) -> StimulusEncoder:
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget

    if name.startswith(("local-dir:", "hf-hub:")):
        return OpenClipTarget.from_open_clip(name, output="pooled")
    model, _, tag = name.partition(":")
    return OpenClipTarget.from_open_clip(model, tag or None, output="pooled")


def _from_folder(name: str) -> KeyEncoder:
    from phosphene.checkpoints.registry import known_models, model_folder
    from phosphene.pipelines.model_folder import INDEX_NAME, load_model
    from phosphene.pipelines.training.materials import load_target

    if name.startswith("pixels:"):
        return KeyEncoder(name, load_target(name))
    if name not in known_models() and not (":" in name or "/" in name or "\\" in name):
        raise UsageError(
            f"`target` is {name!r}",
            expected=f"one of {', '.join((*ALONE, *sorted(known_models())))}, open-clip:NAME:TAG, "
            "pixels:SIZExCHANNELS, local-dir:FOLDER, hf-hub:ID or given:NAME",
            remedy="write local-dir:FOLDER for a folder",
        )
    folder = model_folder(name)
    if not (folder / INDEX_NAME).is_file():
        return KeyEncoder(name, load_target(name))
    parts = load_model(name)
    if parts.target.spec.output == "lowlevel":
        raise InputError(f"{name} decodes low-level latents", "a target of pooled or token output")
    return KeyEncoder(name, parts.target, parts.retrieval)
