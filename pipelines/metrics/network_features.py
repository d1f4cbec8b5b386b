"""Features of pictures from frozen networks, with a cache on disk keyed by what they are of."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.errors import InputError
from phosphene.pipelines.metrics.networks import NETWORKS, check_weights, find_weights
from phosphene.pipelines.metrics.resizing import as_tensor, resize_chain
from phosphene.storage import hash_bytes, load_array, read_json, save_array

__all__ = ["COLOURS", "FeatureCache", "FrozenFeatures", "shared_features"]

Array = np.ndarray[Any, Any]
BATCH = 32
RECENT_BYTES = 96 * 2**20
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
COLOURS: dict[str, Colours] = {  # mean and standard deviation of values in 0..1
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
}


class FrozenFeatures:
    """Pictures to the values of one layer of a frozen network.

    Parameters
    ----------
    network : str
        One of ``NETWORKS``.
    layer : str
        Node of the network whose output is taken; ``"embedding"`` is its own final one.
    sizes : sequence of int
        Squares that pictures are brought to, one after the other; the network gets the last.
    resize : str
        Rule of ``resize_pictures``.
    colours : str
        Normalisation, one of :data:`COLOURS`.
    weights_folder : path, optional
        Where the weights lie, instead of the local caches.
    device : str

    Attributes
    ----------
    identity : str
        Hash of all that changes a value: the weights' content, layer, sizes, rule, colours.
    weights_hash : str
        First 16 digits of the SHA-256 of the weights.
    """

    def __init__(
        self,
        network: str,
        layer: str,
        *,
        sizes: Sequence[int],
        resize: str,
        colours: str,
        weights_folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> None:
        self.network, self.layer = network, layer
        self.sizes, self.resize, self.device = tuple(sizes), resize, device
        if NETWORKS[network].library == "package":
            self.model, self.weights_hash = _lite(self.sizes[-1])
        else:
            path = find_weights(network, weights_folder)
            self.model, self.weights_hash = _load(network, layer, str(path), _stamp(path))
        self.model = self.model.to(device)
        mean, std = (torch.tensor(one, device=device).view(3, 1, 1) for one in COLOURS[colours])
        self._mean, self._std = mean, std
        recipe = [network, layer, self.sizes, resize, colours, self.weights_hash]
        self._recent: dict[str, Tensor] = {}
        self.identity = hash_bytes(json.dumps(recipe).encode())[:16]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Metrics are copied often; what is frozen is shared."""
        return self

    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        """Return features (n, d) in float32 of uint8 pictures (H, W, 1 or 3) of any sizes."""
        given = list(pictures)
        names = [picture_hash(one) for one in given]
        rows = dict(zip(names, given, strict=True))
        if not rows:
            raise InputError("no pictures were given", expected="at least one")
        new = [name for name in rows if name not in self._recent]
        met = {name: self._recent[name] for name in rows if name in self._recent}
        for start in range(0, len(new), BATCH):
            few = new[start : start + BATCH]
            met |= dict(zip(few, self._through_network([rows[n] for n in few]), strict=True))
        self._remember(met)
        return torch.stack([met[name] for name in names])

    @torch.no_grad()
    def _through_network(self, pictures: list[Pictures]) -> Tensor:
        fitted = [resize_chain(_coloured(one)[None], self.sizes, self.resize) for one in pictures]
        levels = as_tensor(np.concatenate(fitted)).to(self.device)
        found = self.model((levels - self._mean) / self._std)
        values: Tensor = found["out"] if isinstance(found, Mapping) else found
        return values.float().flatten(1).cpu()

    def _remember(self, met: dict[str, Tensor]) -> None:
        """Keep what was last met, so that several metrics of a batch share one pass."""
        for name, row in met.items():
            if row.numel() * 4 * len(met) <= RECENT_BYTES and name not in self._recent:
                self._recent[name] = row.clone()  # a view would keep its whole batch
        size = next(iter(met.values())).numel() * 4
        while len(self._recent) * size > RECENT_BYTES:
            self._recent.pop(next(iter(self._recent)))


@lru_cache(maxsize=8)
def shared_features(
    network: str,
    layer: str,
    sizes: tuple[int, ...],
    resize: str,
    colours: str,
    weights_folder: str | None,
    device: str,
) -> FrozenFeatures:
    """Return features that all metrics of one definition of them share."""
    return FrozenFeatures(
        network, layer, sizes=sizes, resize=resize, colours=colours,
        weights_folder=weights_folder, device=device,
    )  # fmt: skip


class FeatureCache:
    """Features on disk, found again by network and by the content of the picture.

    Parameters
    ----------
    folder : path
    identity : str
        Of the network and its preprocessing; each has a folder of its own.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: str) -> None:
        self.folder = Path(folder) / identity

    def encode(self, network: FrozenFeatures, pictures: Sequence[Pictures]) -> Array:
        """Return features (n, d) in float32, computing those of pictures not met before."""
        paths = [self._path(picture_hash(one)) for one in pictures]
        known = [self._read(path) for path in paths]
        missing = [row for row, value in enumerate(known) if value is None]
        if missing:
            for row, value in zip(
                missing, network.encode(pictures[row] for row in missing).numpy(), strict=True
            ):
                save_array(paths[row], value)
                known[row] = value
        return np.stack([value for value in known if value is not None])

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.npy"

    @staticmethod
    def _read(path: Path) -> Array | None:
        if not path.is_file():
            return None
        try:
            value = load_array(path, memory_map=False)
        except InputError:  # damaged: made again
            return None
        return value if value.dtype == np.float32 and value.ndim == 1 else None


class _Embedding(nn.Module):
    """A model whose features are the result of one of its methods, or a part of its output."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__()
        self.model: Any = model
        self.kind = kind

    def forward(self, pictures: Tensor) -> Tensor:
        if self.kind == "open_clip":
            found: Tensor = self.model.encode_image(pictures)
        elif self.kind == "transformers":  # the class token after the last normalisation
            found = self.model(pixel_values=pictures).last_hidden_state[:, 0]
        else:
            found = self.model.extract_features(pictures).mean((2, 3))
        return found


@lru_cache(maxsize=4)
def _load(network: str, layer: str, place: str, stamp: int) -> tuple[nn.Module, str]:
    known, path = NETWORKS[network], Path(place)
    digest = check_weights(network, path)
    if known.library == "torchvision":
        model = _torchvision_layer(known.architecture, layer, path)
    else:
        _check_configuration(network, path)
        loader = _open_clip if known.library == "open_clip" else _transformers
        model = _Embedding(loader(network, path), known.library)
    return model.eval().requires_grad_(False), digest


@lru_cache(maxsize=2)
def _lite(size: int) -> tuple[nn.Module, str]:
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget

    target = EfficientNetTarget(size=size)
    return _Embedding(target.network, "package").eval(), target.weights_hash


def _torchvision_layer(architecture: str, layer: str, path: Path) -> nn.Module:
    """Build a network up to a layer, every weight from the file."""
    from torchvision import models
    from torchvision.models.feature_extraction import create_feature_extractor

    # With published weights torchvision's Inception maps ImageNet's colours to its own.
    options = {"transform_input": True} if architecture == "inception_v3" else {}
    with torch.device("meta"):  # no random weights are drawn
        network = models.get_model(architecture, weights=None, **_quick(architecture), **options)
    try:
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {name.removeprefix("module."): value for name, value in found.items()}
        state = network.state_dict()
        head = ("fc.", "classifier.", "AuxLogits.")
        # SwAV's file holds no classifier, but the head that its training needed.
        extra = {n for n in tensors if n.startswith(("projection_head", "prototypes"))}
        missing = [n for n in state if n not in tensors and not n.startswith(head)]
        unknown = [n for n in tensors if n not in state and n not in extra]
        if missing or unknown:
            raise RuntimeError(f"missing {missing[:3]}, unknown {unknown[:3]}")
        kept = {name: value for name, value in tensors.items() if name in state}
        network.load_state_dict(kept, strict=False, assign=True)
    except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} does not hold the weights of {architecture} ({error})",
            expected="the published file",
            remedy="copy it again",
        ) from error
    taken: nn.Module = create_feature_extractor(network.eval(), return_nodes={layer: "out"})
    return taken


def _quick(architecture: str) -> dict[str, Any]:
    return {"init_weights": False} if architecture in ("inception_v3", "vgg16") else {}


def _open_clip(network: str, path: Path) -> nn.Module:
    import open_clip

    known = NETWORKS[network]
    if (path / "open_clip_config.json").is_file():
        model: nn.Module = open_clip.create_model(
            f"local-dir:{path}", require_pretrained=True, force_quick_gelu=True
        )
        return model
    made: nn.Module = open_clip.create_model(
        known.architecture, pretrained=str(path / known.file), require_pretrained=True
    )
    return made


def _transformers(network: str, path: Path) -> nn.Module:
    import transformers

    loader: Any = transformers.AutoModel
    model: nn.Module = loader.from_pretrained(path, local_files_only=True, use_safetensors=True)
    return model


def _check_configuration(network: str, path: Path) -> None:
    """Compare what a model's folder says of itself with what the network is known to be."""
    known = NETWORKS[network]
    file = path / ("open_clip_config.json" if known.library == "open_clip" else "config.json")
    if known.library == "open_clip" and not file.is_file():
        return  # then open_clip's own configuration of that name is used
    content = read_json(file)
    for key, expected in known.configuration.items():
        value: Any = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value != expected:
            raise InputError(
                f"{file} says {key} is {value}",
                expected=f"{expected}, as {known.weights} has it",
                remedy="name the folder of that network",
            )


def _coloured(pixels: Pictures) -> Pictures:
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)


def _stamp(path: Path) -> int:
    """Return when the weights were written, so that others in their place are read again."""
    return max((file.stat().st_mtime_ns for file in path.glob("*")), default=0) or (
        path.stat().st_mtime_ns
    )
