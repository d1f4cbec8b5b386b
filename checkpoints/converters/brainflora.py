"""BrainFLORA: encoders of EEG, MEG and fMRI by one architecture, and their mixture (2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.checkpoints.converters.family import (
    Converted,
    Family,
    Request,
    Shapes,
    check_voxels,
    filled,
    published_protocol,
    tensors_of,
)
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap, Matched
from phosphene.checkpoints.converters.sensors import (
    KNOWN_TIMES,
    SIGNAL,
    VIT_H,
    model_of_sensors,
    projector_keys,
    signal_of,
    tsconv_keys,
)
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.published.medformer import (
    MedformerEncoder,
    MedformerVoxels,
    count_tokens,
)
from phosphene.errors import InputError, UsageError, check_option
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import VoxelSpace

__all__ = ["FLORA_MAP", "BrainFLORA"]

E = "encoder.enc_embedding."
L = "encoder.encoder.attn_layers.{l}."
PARTS = ("eeg", "meg", "fmri")
MIXTURE = "moe_projection."
FIRST = f"{E}value_embeddings.0.tokenConv.weight"
LONGEST = 4096  # samples of a window that are looked for
STEPS, GUIDANCE = 10, 2.0  # of the prior, in the published reconstruction
GENERATOR = "ip-adapter-sdxl-turbo"
SELECTION = "the last epoch: 150 of an encoder, 60 of the mixture; test scores were watched"
THINGS_FMRI_VOXELS = {6036: "01", 5944: "02", 5238: "03"}


def _flat(value: Tensor) -> Tensor:
    return value[..., 0]


def _without_channel(value: Tensor) -> Tensor:
    return value[:, 0]


def _row(value: Tensor) -> Tensor:
    return value[0]


def _attention(name: str, own: str) -> list[Key]:
    keys = []
    for part in ("query", "key", "value"):
        keys.append(Key(f"{name}.{part}_projection.weight", f"{own}.{part}.weight", ("a", "n")))
        keys.append(Key(f"{name}.{part}_projection.bias", f"{own}.{part}.bias", ("a",)))
    return [
        *keys,
        Key(f"{name}.out_projection.weight", f"{own}.out.weight", ("n", "a")),
        Key(f"{name}.out_projection.bias", f"{own}.out.bias", ("n",)),
    ]


def _front() -> list[Key]:
    """Return keys of Medformer: ``e`` channels, ``n`` numbers per token, ``p{i}`` of a patch."""
    own, published = "layers.{l}.", f"{L}attention."
    keys = [
        Key(
            f"{E}value_embeddings.{{i}}.tokenConv.weight", "embed.{i}.weight",
            ("n", 1, "e", "p{i}"), apply=_without_channel,
        ),
        Key(f"{E}position_embedding.pe", "places", (1, "places", "n"), apply=_row),
        Key(f"{E}learnable_embeddings.{{i}}", "lengths.{i}", (1, "n"), apply=_row),
        *_attention(f"{published}intra_attentions.{{i}}", f"{own}within.{{i}}"),
        *_attention(f"{published}inter_attention", f"{own}between"),
        Key(f"{L}conv1.weight", f"{own}first.weight", ("u", "n", 1), apply=_flat),
        Key(f"{L}conv1.bias", f"{own}first.bias", ("u",)),
        Key(f"{L}conv2.weight", f"{own}second.weight", ("n", "u", 1), apply=_flat),
        Key(f"{L}conv2.bias", f"{own}second.bias", ("n",)),
    ]  # fmt: skip
    for name, kept in ((f"{L}norm1", f"{own}first_norm"), (f"{L}norm2", f"{own}second_norm"),
                       ("encoder.encoder.norm", "norm")):  # fmt: skip
        keys += [Key(f"{name}.{kind}", f"{kept}.{kind}", ("n",)) for kind in ("weight", "bias")]
    return keys


def _mixture() -> list[Key]:
    keys = [
        Key("experts.weight", "experts.weight", ("x*z", "z")),
        Key("experts.bias", "experts.bias", ("x*z",)),
        Key("router.0.weight", "router.0.weight", ("r", "z")),
        Key("router.0.bias", "router.0.bias", ("r",)),
        Key("router.2.weight", "router.2.weight", ("x", "r")),
        Key("router.2.bias", "router.2.bias", ("x",)),
    ]
    return [Key(MIXTURE + key.published, key.own, key.shape, "mixture") for key in keys]


FLORA_MAP = KeyMap(
    "BrainFLORA",
    (
        *_front(),
        *tsconv_keys("enc_eeg.0.", "tsconv."),
        *projector_keys("proj_eeg.", "projector.", "fn.1"),
        Key("logit_scale", "logit_scale", ()),
        Key("proj_fmri.weight", "spread.weight", ("e*t", "padded"), "voxels"),
        Key("proj_fmri.bias", "spread.bias", ("e*t",), "voxels"),
        *_mixture(),
    ),
    (
        Drop("encoder.projection.*", "the classifier of Medformer: made, and not called"),
        Drop("subject_wise_linear.*", "made by the published class and never called"),
    ),
)
QUIRKS = (
    "subjects are not told to the network: layers of single ones are in the file and not called",
    "in the published training of the mixture, frozen encoders were switched to training mode "
    "again, so that it learned beside their dropout; at test nothing is dropped",
)


class BrainFLORA(Family):
    """An encoder of one modality, or the mixture over all three, of which one is kept."""

    name: ClassVar[str] = "brainflora"
    title: ClassVar[str] = "BrainFLORA"
    paper: ClassVar[str] = (
        "Li et al. 2025, BrainFLORA: uncovering brain concept representation via multimodal neural "
        "embeddings (ACM MM 2025, arXiv 2507.09747)"
    )
    source: ClassVar[str] = (
        "LidongYang/BrainFLORA (dataset): eeg_01-06_01-46_150.pth, meg_01-11_14-50_150.pth, "
        "fmri_01-18_01-35_150.pth, Unified_EEG+MEG+fMRI_EEG_01-27_02-32_60.pth"
    )
    licence: ClassVar[str] = "MIT (repository); terms of the data sets for what is decoded"
    settings: ClassVar[dict[str, Any]] = {
        **SIGNAL, "part": None, "heads": 4, "n_times": None, "voxels": None,
    }  # fmt: skip
    files: ClassVar[dict[str, str]] = {"prior": "the file of the diffusion prior"}

    def recognises(self, shapes: Shapes) -> bool:
        return FIRST in shapes or any(f"encoder.{part}.{FIRST}" in shapes for part in PARTS)

    def convert(self, state: State, request: Request) -> Converted:
        own, dropped, part = self._own_tensors(state, request)
        matched = FLORA_MAP.match(own)
        sizes, fmri = matched.sizes, "voxels" in matched.parts
        heads = int(self.setting(request, "heads"))
        if heads < 1 or sizes["n"] // heads * heads != sizes["a"]:
            raise InputError(
                f"attention of {sizes['a']} numbers over tokens of {sizes['n']}, {heads} heads",
                expected="as many numbers as heads of one width have",
                remedy="--set heads=NUMBER, as it was trained",
            )
        patches = [sizes[f"p{number}"] for number in range(sizes["#i"])]
        times = sizes["t"] if fmri else self._times(sizes["c"], patches, request)
        if count_tokens(times, patches) != sizes["c"]:
            raise InputError(
                f"a convolution over {sizes['c']} tokens, where {times} samples give "
                f"{count_tokens(times, patches)}",
                expected="as many",
                remedy="--set n_times=NUMBER, as it was trained",
            )
        options = {
            "patches": patches, "width": sizes["n"], "heads": heads, "layers": sizes["#l"],
            "hidden": sizes["u"], "filters": sizes["f"], "kernel": sizes["k"],
            "experts": sizes.get("x", 0), "router": sizes.get("r", 0),
        }  # fmt: skip
        prior, words = self._prior(request, dropped)
        found = {
            "modality": part or ("fmri" if fmri else "EEG or MEG"),
            "channels x samples": f"{sizes['e']} x {times}",
            "tokens": f"{sizes['c']}, patches of {', '.join(map(str, patches))}",
            "embedding": str(sizes["z"]),
            "mixture": f"{sizes['x']} experts" if "x" in sizes else "no",
            **words,
        }
        make = _model_of_voxels if fmri else _model_of_signal
        parts = make(matched, options, times, request)
        parts.prior = prior
        return Converted(parts, found, {**matched.dropped, **dropped}, list(QUIRKS))

    def _own_tensors(
        self, state: State, request: Request
    ) -> tuple[dict[str, Tensor], dict[str, str], str]:
        """Return the tensors of one encoder under its own names, and what is left out."""
        kept: dict[str, Tensor] = {}
        dropped: dict[str, str] = {}
        named = self.setting(request, "part")
        if any(name.startswith(f"{MIXTURE}upsample") for name in state.tensors):
            raise InputError(
                "the captioning form of BrainFLORA: its mixture writes 256 tokens",
                expected="the form for retrieval or reconstruction",
                remedy="it speaks to a language model (Shikra) that is not here",
            )
        if not any(name.startswith(MIXTURE) for name in state.tensors):
            if named is not None:
                raise UsageError(
                    f"part={named} for a file of one encoder",
                    expected="the mixture, which has encoders of three modalities",
                    remedy="leave --set part out",
                )
            return state.tensors, dropped, ""
        part = check_option("part", str(named or "eeg"), PARTS)
        for name, value in state.tensors.items():
            other = next((one for one in PARTS if name.startswith(f"encoder.{one}.")), "")
            if not other:
                kept[name] = value
            elif other != part:
                dropped[name] = "encoder of another modality (--set part=eeg, meg or fmri)"
            elif name == f"encoder.{part}.logit_scale":
                dropped[name] = "temperature of the encoder alone; the mixture has one"
            else:
                kept[name.removeprefix(f"encoder.{part}.")] = value
        return kept, dropped, part

    def _times(self, tokens: int, patches: Sequence[int], request: Request) -> int:
        """Return the samples of a window that becomes this many tokens."""
        named = self.setting(request, "n_times")
        if named is not None:
            return int(named)
        candidates = (*KNOWN_TIMES, *range(1, LONGEST))
        found: int | None = next(
            (one for one in candidates if count_tokens(one, patches) == tokens), None
        )
        if found is None:
            raise InputError(
                f"a convolution over {tokens} tokens of patches of {', '.join(map(str, patches))}",
                expected="a number that some window gives, such as 221 for 250 samples",
                remedy="get the file from its source",
            )
        return found

    def _prior(self, request: Request, dropped: dict[str, str]) -> tuple[Any, dict[str, str]]:
        from phosphene.checkpoints.converters.atm_prior import prior_of

        path = request.file("prior")
        if path is None:
            return None, {"prior": "no (--with prior=FILE)"}
        prior, widths, left = prior_of(tensors_of(Path(path)), steps=STEPS, guidance=GUIDANCE)
        dropped |= left
        return prior, {"prior": f"widths {', '.join(map(str, widths))}"}


def _network(matched: Matched, times: int) -> dict[str, Tensor]:
    """Return the tensors of the network by the names here."""
    sizes = matched.sizes
    found = {
        f"network.{name}": value
        for name, value in matched.tensors.items()
        if not name.startswith(("lengths.", "spread.", "logit_scale"))
    }
    lengths = range(sizes["#i"])
    longest = times // min(sizes[f"p{number}"] for number in lengths) + 1
    found["network.places"] = matched.tensors["places"][:longest]
    found["network.lengths"] = torch.stack([matched.tensors[f"lengths.{one}"] for one in lengths])
    return found


def _model_of_signal(
    matched: Matched, options: Mapping[str, Any], times: int, request: Request
) -> ModelParts:
    sizes = matched.sizes
    config = {
        "n_outputs": sizes["z"], **signal_of(sizes["e"], times, request),
        "subjects": list(request.subjects), **options,
    }  # fmt: skip
    tensors = {**_network(matched, times), "logit_scale": matched.tensors["logit_scale"]}
    return model_of_sensors(
        filled(MedformerEncoder, config, tensors),
        VIT_H(sizes["z"]),
        request,
        generator=GENERATOR,
        subjects=request.subjects,
        protocol=published_protocol(
            dataset="THINGS-EEG2 (Gifford 2022), or THINGS-MEG for 271 sensors",
            subjects=request.subjects,
            mask="channels in the order of the model",
            normalisation="multivariate noise normalisation per session, 0 to 1 s",
            fitted_on="covariances of training trials",
            averaging=(
                "single trials of all subjects together",
                "all repetitions averaged (80); of MEG twelve pictures of a concept",
            ),
            selection=SELECTION,
        ),
    )


def _model_of_voxels(
    matched: Matched, options: Mapping[str, Any], times: int, request: Request
) -> ModelParts:
    sizes, target = matched.sizes, VIT_H(matched.sizes["z"])
    preprocessor, voxels = Preprocessor("fmri"), {}
    for subject in request.subjects:
        voxels[subject] = _voxels_of(subject, sizes["padded"], request)
        preprocessor.accept(subject, VoxelSpace.columns(voxels[subject]))
    config = {
        "voxels": voxels, "targets": {"pooled": [sizes["z"]]}, "padded": sizes["padded"],
        "rows": sizes["e"], "samples": times, **options,
    }  # fmt: skip
    spread = {f"spread.{kind}": matched.tensors[f"spread.{kind}"] for kind in ("weight", "bias")}
    return ModelParts(
        encoder=filled(MedformerVoxels, config, {**_network(matched, times), **spread}),
        target=target,
        preprocessor=preprocessor,
        protocol=published_protocol(
            dataset="THINGS-fMRI (Hebart 2023)",
            subjects=request.subjects,
            mask="voxels of the published responses, in their order",
            normalisation="not established",
            fitted_on="not established",
            averaging=("single trials of all subjects together", "all repetitions averaged"),
            selection=SELECTION,
        ),
        generator=OnDemand(GENERATOR, target),
        baselines={},
    )


def _voxels_of(subject: str, padded: int, request: Request) -> int:
    """Return how many voxels a subject has: the file tells only what all are filled up to."""
    known = {label: number for number, label in THINGS_FMRI_VOXELS.items()}
    named = request.settings.get("voxels")
    if named is None and subject not in known:
        raise UsageError(
            f"weights that do not say how many voxels subject {subject} has",
            expected="a subject of THINGS-fMRI (01, 02, 03), or the number",
            remedy="--set voxels=NUMBER",
        )
    voxels = known[subject] if named is None else int(named)
    check_voxels(subject, voxels, THINGS_FMRI_VOXELS, "THINGS-fMRI")
    if not 1 <= voxels <= padded:
        raise InputError(
            f"{voxels} voxels for weights of {padded}",
            expected=f"1 to {padded}; what is missing is filled up with zeros",
            remedy="--set voxels=NUMBER",
        )
    return voxels
