"""Brain-IT: voxel embeddings, functional clusters, transformer, output tokens (Beliy et al. 2025).

Published programs pickle whole networks; their classes become inert records here, and the tensors
are taken from those. Which voxel belongs to which cluster, and to which subject, is in two arrays
beside the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.checkpoints.converters.family import (
    Converted,
    Family,
    Request,
    Shapes,
    filled,
    published_protocol,
)
from phosphene.checkpoints.converters.inert import InertRecord
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap, Matched
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.bit import BITEncoder
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.storage import load_array
from phosphene.types import VoxelSpace

__all__ = ["BIT_MAP", "BrainIT"]

VGG_TOKENS = 7190
INNER, ENGINE = "gnn_model.", "diffusion_engine."


def _block(prefix: str, maps: str, shape: tuple[str, ...]) -> list[Key]:
    """Return keys of one block: two norms, attention, a perceptron."""
    shapes: dict[str, tuple[str, ...]] = {
        "norm1.weight": ("w",), "norm1.bias": ("w",), f"attn.{maps}.weight": shape,
        "attn.proj.weight": ("w", "w"), "attn.proj.bias": ("w",), "norm2.weight": ("w",),
        "norm2.bias": ("w",), "mlp.fc1.weight": ("4*w", "w"), "mlp.fc1.bias": ("4*w",),
        "mlp.fc2.weight": ("w", "4*w"), "mlp.fc2.bias": ("w",),
    }  # fmt: skip
    return [Key(prefix + name, prefix + name, one) for name, one in shapes.items()]


def _keys() -> list[Key]:
    keys = [
        Key("voxel_embed", "voxel_embed", ("n", "w")),
        Key("centers", "centers", ("k", "w")),
        Key("pred_tokens", "pred_tokens", ("t", "w")),
        Key("proj.weight", "proj.weight", ("d", "w")),
        Key("proj.bias", "proj.bias", ("d",)),
        Key("norm_centers.weight", "norm_centers.weight", ("w",)),
        Key("norm_centers.bias", "norm_centers.bias", ("w",)),
    ]
    for name in ("lin_key", "lin_query", "lin_value", "lin_skip"):
        name = f"conv_centers.{name}"
        keys.append(Key(f"{name}.weight", f"{name}.weight", ("w", "w")))
        keys.append(Key(f"{name}.bias", f"{name}.bias", ("w",)))
    keys += _block("blocks.{i}.", "qkv", ("3*w", "w"))
    return [*keys, *_block("block_crosses.{j}.", "kv", ("2*w", "w"))]


BIT_MAP = KeyMap(
    "Brain-IT",
    tuple(_keys()),
    (
        Drop(
            f"{ENGINE}*",
            "the unCLIP network that was tuned beside the decoder; generators are converted by "
            "`phosphene models convert`",
        ),
    ),
)
QUIRKS = (
    "attention from voxels to clusters is computed folded, which is the same within rounding",
    "pictures in 0..1 were given to a network that expects -1..1 (colours mindeye2), on purpose",
    "there is no prior: tokens condition the generator as they are predicted",
)


class BrainIT(Family):
    """The pickled decoder, of the semantic or of the low-level branch, or stage 2's checkpoint."""

    name: ClassVar[str] = "brain-it"
    title: ClassVar[str] = "Brain-IT"
    paper: ClassVar[str] = (
        "Beliy et al. 2025, Brain-IT: image reconstruction from fMRI via brain-interaction "
        "transformer"
    )
    source: ClassVar[str] = (
        "WeizmannVision/brainit-fmri: decoder_..._save.pth of a training; no weights are released"
    )
    licence: ClassVar[str] = "not stated"
    settings: ClassVar[dict[str, Any]] = {"heads": None}
    files: ClassVar[dict[str, str]] = {
        "clusters": "v2c_128_mapping_gmm.npy: voxels of each cluster, filled up with -1",
        "voxels": "num_voxels_all_subjects.npy: voxels per subject, of hemispheres or together",
    }

    def recognises(self, shapes: Shapes) -> bool:
        names = {name.removeprefix(INNER) for name in shapes}
        return {"voxel_embed", "pred_tokens", "conv_centers.lin_key.weight"} <= names

    def convert(self, state: State, request: Request) -> Converted:
        inner = any(name.startswith(INNER) for name in state.tensors)
        tensors = {
            (name.removeprefix(INNER) if inner else name): value
            for name, value in state.tensors.items()
        }
        matched = BIT_MAP.match(tensors)
        sizes = matched.sizes
        if sizes["#j"] != sizes["#i"] + 1:
            raise InputError(
                f"{sizes['#j']} blocks of queries for {sizes['#i']} of clusters",
                expected="one more",
                remedy="get the file from its source",
            )
        heads = self._heads(state, request, sizes["w"])
        places = self._places(request, sizes["n"])
        clusters = self._clusters(request, sizes["n"], sizes["k"])
        encoder = _encoder(matched, heads, places, clusters)
        target, generator = _target(sizes)
        preprocessor = Preprocessor("fmri")
        for subject, (first, last) in places.items():
            preprocessor.accept(subject, VoxelSpace.columns(last - first))
        parts = ModelParts(
            encoder=encoder,
            target=target,
            preprocessor=preprocessor,
            protocol=published_protocol(
                dataset="Natural Scenes Dataset",
                subjects=request.subjects,
                mask="Algonauts 2023 mask on fsaverage, about 40,000 vertices per subject",
                normalisation="z-score per session",
                fitted_on="not established",
                averaging=("mean of the repetitions", "mean of the repetitions"),
                selection="not established",
            ),
            generator=OnDemand(generator, target),
            baselines={},
        )
        words = {
            "voxels of all subjects": str(sizes["n"]),
            "voxels": ", ".join(f"sub-{one}: {b - a}" for one, (a, b) in places.items()),
            "clusters": str(sizes["k"]),
            "tokens": f"{sizes['t']} x {sizes['d']}",
            "width, blocks, heads": f"{sizes['w']}, {sizes['#i']}, {heads}",
        }
        return Converted(parts, words, matched.dropped, list(QUIRKS))

    def _heads(self, state: State, request: Request, width: int) -> int:
        """Return the number of heads: the pickled network tells it, its tensors do not."""
        heads = self.setting(request, "heads")
        if heads is None and state.record is not None and isinstance(state.record.state, dict):
            options = state.record.state.get("param")
            if isinstance(options, InertRecord) and isinstance(options.state, dict):
                heads = options.state.get("heads")
        heads = 8 if heads is None else int(heads)
        if heads < 1 or width % heads:
            raise UsageError(
                f"{heads} heads for a width of {width}",
                expected="a divisor of the width",
                remedy="--set heads=NUMBER, as it was trained",
            )
        return heads

    def _places(self, request: Request, total: int) -> dict[str, tuple[int, int]]:
        """Return where in the table of all voxels those of each subject lie."""
        path = request.file("voxels")
        if path is None:
            if len(request.subjects) == 1:
                return {request.subject: (0, total)}
            raise UsageError(
                f"voxels of {len(request.subjects)} subjects in one table of {total}",
                expected="how many each subject has",
                remedy="--with voxels=num_voxels_all_subjects.npy",
            )
        counts = torch.from_numpy(load_array(path, memory_map=False).astype("int64"))
        counts = counts.reshape(len(counts), -1).sum(1)
        if int(counts.sum()) != total:
            raise InputError(
                f"{path} counts {int(counts.sum())} voxels",
                expected=f"{total}, as the network has",
                remedy="name the array of the same training",
            )
        last = counts.cumsum(0).tolist()
        found = {}
        for subject in request.subjects:
            number = int(subject) if subject.isdigit() else 0
            if not 1 <= number <= len(last):
                raise UsageError(
                    f"subject {subject!r} of {len(last)} subjects",
                    expected="a number from 1, such as 01, by its place in the array",
                    remedy="name the subject by its number",
                )
            found[subject] = (last[number - 1] - int(counts[number - 1]), last[number - 1])
        return found

    def _clusters(self, request: Request, total: int, count: int) -> Tensor:
        """Return the cluster of every voxel of the table."""
        near = request.path.parent
        path = request.file(
            "clusters",
            near / f"v2c_{count}_mapping_gmm_v2.npy",
            near / f"v2c_{count}_mapping_gmm.npy",
        )
        if path is None:
            raise UsageError(
                "a network of Brain-IT without the clusters of its voxels",
                expected=self.files["clusters"],
                remedy="--with clusters=FILE; the programs write it to data/derived_data",
            )
        mapping = torch.from_numpy(load_array(Path(path), memory_map=False).astype("int64"))
        if mapping.ndim != 2 or len(mapping) != count or int(mapping.max()) >= total:
            raise InputError(
                f"{path} has the shape {tuple(mapping.shape)}, voxels up to {int(mapping.max())}",
                expected=f"{count} rows of voxels below {total}",
                remedy="name the array of the same training",
            )
        clusters = torch.full((total,), -1, dtype=torch.long)
        for number, row in enumerate(mapping):
            clusters[row[row >= 0]] = number
        if (clusters < 0).any() or int((mapping >= 0).sum()) != total:
            raise InputError(
                f"{path} puts {int((mapping >= 0).sum())} voxels in clusters",
                expected=f"each of {total} in exactly one",
                remedy="name the array of the same training",
            )
        return clusters


def _encoder(
    matched: Matched, heads: int, places: dict[str, tuple[int, int]], clusters: Tensor
) -> BITEncoder:
    sizes, tensors = matched.sizes, dict(matched.tensors)
    table = tensors.pop("voxel_embed")
    outputs = sizes["t"] * sizes["d"]
    tensors["profile_mean"] = torch.zeros(outputs)
    tensors["profile_components"] = torch.zeros(outputs, 1)
    for subject, (first, last) in places.items():
        own = f"voxel_embed.sub-{subject}."
        tensors[f"{own}embedding"] = table[first:last]
        tensors[f"{own}cluster"] = clusters[first:last]
        # Profiles of responses are what subjects are added by here; published weights have none.
        tensors[f"{own}profile"] = torch.zeros(last - first, 1)
    config = {
        "voxels": {one: last - first for one, (first, last) in places.items()},
        "targets": {"tokens": [sizes["t"], sizes["d"]]},
        "width": sizes["w"], "depth": sizes["#i"], "heads": heads, "clusters": sizes["k"],
        "profile_size": 1,
    }  # fmt: skip
    found: BITEncoder = filled(BITEncoder, config, tensors)
    return found


def _target(sizes: dict[str, int]) -> tuple[PublishedTarget, str]:
    """Return what is predicted, and the generator of it."""
    shape = [sizes["t"], sizes["d"]]
    if sizes["t"] == VGG_TOKENS:
        note = "grids of 56, 55, 28, 14 and 7 squared from five layers, for pictures of 112 pixels"
        return PublishedTarget("vgg16_bn", "torchvision", "features", shape, "own", note=note), ""
    target = PublishedTarget(
        "ViT-bigG-14", "laion2b_s39b_b160k", "patches", shape, colours="mindeye2", width=1664,
        layers=48, note="before the last norm; rendered at 256 pixels in the paper",
    )  # fmt: skip
    return target, "sdxl-unclip"
