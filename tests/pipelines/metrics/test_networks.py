"""Networks of the real architectures, their weights drawn at random and read from files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import models

from phosphene.errors import AssetError, InputError
from phosphene.pipelines.metrics import networks
from phosphene.pipelines.metrics.network_features import FeatureCache, FrozenFeatures
from phosphene.pipelines.metrics.networks import NETWORKS, find_weights
from phosphene.pipelines.metrics.resizing import as_tensor, resize_chain
from phosphene.pipelines.metrics.specs import create_metric
from phosphene.storage import hash_file

Array = np.ndarray[Any, Any]
IMAGENET = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture
def pictures() -> Array:
    return np.random.default_rng(3).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)


def stored(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, state: dict[str, torch.Tensor]
) -> Path:
    """Write weights where those of a network would lie, and let their hash be the known one."""
    path = folder / NETWORKS[name].file
    torch.save(state, path)
    known = dataclasses.replace(NETWORKS[name], sha256=hash_file(path)[:8])
    monkeypatch.setitem(networks.NETWORKS, name, known)
    return path


def small_alexnet() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Return AlexNet; its large classifier is one number repeated, which a file stores once."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = models.alexnet()
    features = _alexnet_features()
    state = {f"features.{k}": v for k, v in features.state_dict().items()}
    for key, value in network.state_dict().items():
        if key.startswith("classifier"):
            state[key] = torch.zeros(1).expand(value.shape)
    return features, state


def _alexnet_features() -> torch.nn.Sequential:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    ).eval()  # fmt: skip


def normalised(pictures: Array, sizes: tuple[int, ...], rule: str) -> torch.Tensor:
    levels = as_tensor(resize_chain(pictures, sizes, rule))
    return (levels - IMAGENET[0]) / IMAGENET[1].view(3, 1, 1)


def test_layers_of_alexnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Array
) -> None:
    """Layer 2 is the ReLU after the second convolution: 184,512 numbers of 256 pixels."""
    features, state = small_alexnet()
    stored(monkeypatch, tmp_path, "alexnet", state)
    for layer, depth, length in (("features.4", 5, 184_512), ("features.11", 12, 57_600)):
        frozen = FrozenFeatures(
            "alexnet", layer, sizes=(256,), resize="tensor-bilinear", colours="imagenet",
            weights_folder=tmp_path,
        )  # fmt: skip
        found = frozen.encode(pictures)
        with torch.no_grad():
            expected = features[:depth](normalised(pictures, (256,), "tensor-bilinear")).flatten(1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert found.dtype == torch.float32
        assert (found >= 0).all()
        assert found.shape == (3, length)
    assert frozen.identity != FrozenFeatures(
        "alexnet", "features.11", sizes=(224,), resize="tensor-bilinear", colours="imagenet",
        weights_folder=tmp_path,
    ).identity  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "build", "length"),
    [
        ("inception-v3", lambda: models.inception_v3(init_weights=False), 2048),
        ("efficientnet-b1", models.efficientnet_b1, 1280),
        ("efficientnet-b1-v1", models.efficientnet_b1, 1280),
        ("swav", models.resnet50, 2048),
    ],
)
def test_pooled_features_of_torchvision(
    name: str, build: Any, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    pictures: Array,
) -> None:  # fmt: skip
    """As the network gives them whose classifier is taken away."""
    torch.manual_seed(1)
    network = build().eval()
    state = network.state_dict()
    if name == "swav":  # as that file has it
        state = {f"module.{k}": v for k, v in state.items() if not k.startswith("fc.")}
        state["module.projection_head.0.weight"] = torch.zeros(2, 2)
        state["module.prototypes.weight"] = torch.zeros(2, 2)
    stored(monkeypatch, tmp_path, name, state)
    found = FrozenFeatures(
        name, "avgpool", sizes=(96,), resize="pillow-bilinear", colours="imagenet",
        weights_folder=tmp_path,
    ).encode(pictures)  # fmt: skip
    head = "classifier" if hasattr(network, "classifier") else "fc"
    setattr(network, head, torch.nn.Identity())
    if name == "inception-v3":
        network.transform_input = True  # as torchvision sets it with published weights
    with torch.no_grad():
        expected = network(normalised(pictures, (96,), "pillow-bilinear"))
    assert found.shape == (3, length)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_clip_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Array
) -> None:
    """A tiny model of open_clip's class, in a folder as the hub has it."""
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget

    torch.manual_seed(2)
    vision = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
    model = {
        "embed_dim": 16,
        "vision_cfg": vision,
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
        "quick_gelu": True,
    }  # fmt: skip
    target = OpenClipTarget(model, output="pooled", grid=1)
    folder = tmp_path / "clip-vit-l-14"
    target.save_pretrained(folder)
    options: Any = {
        "sizes": (32,), "resize": "pillow-bicubic", "colours": "clip", "weights_folder": tmp_path,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"embed_dim is 16(.|\n)*768"):
        FrozenFeatures("clip-vit-l-14", "embedding", **options)
    known = dataclasses.replace(
        NETWORKS["clip-vit-l-14"], configuration={"model_cfg.embed_dim": 16}
    )
    monkeypatch.setitem(networks.NETWORKS, "clip-vit-l-14", known)
    found = FrozenFeatures("clip-vit-l-14", "embedding", **options).encode(pictures)
    levels = as_tensor(resize_chain(pictures, (32,), "pillow-bicubic"))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    with torch.no_grad():
        expected = target.clip.eval().encode_image(
            (levels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_dinov2_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Array
) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(3)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    network = Dinov2Model(config).eval()
    network.save_pretrained(tmp_path)
    known = dataclasses.replace(NETWORKS["dinov2-base"], configuration={"hidden_size": 24})
    monkeypatch.setitem(networks.NETWORKS, "dinov2-base", known)
    found = FrozenFeatures(
        "dinov2-base", "embedding", sizes=(56,), resize="pillow-bicubic", colours="imagenet",
        weights_folder=tmp_path,
    ).encode(pictures)  # fmt: skip
    with torch.no_grad():
        expected = network(pixel_values=normalised(pictures, (56,), "pillow-bicubic"))
    torch.testing.assert_close(found, expected.pooler_output, atol=1e-5, rtol=1e-4)


def test_what_is_missing_is_said_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("PHOSPHENE_METRIC_WEIGHTS", raising=False)
    with pytest.raises(
        AssetError, match=r"233 MB, under the licence BSD(.|\n)*weights_folder"
    ) as caught:
        create_metric("alexnet2/strict-v1")
    assert "get_model('alexnet'" in str(caught.value)
    with pytest.raises(AssetError, match="swav_800ep"):
        create_metric("swav/mindeye2", weights_folder=tmp_path)
    # The cache of torch, and the folder that a variable names, are looked at.
    for place in (tmp_path / "hub" / "checkpoints", tmp_path / "named"):
        place.mkdir(parents=True)
        file = place / NETWORKS["alexnet"].file
        file.write_bytes(b"x")
        if place.name == "named":
            monkeypatch.setenv("PHOSPHENE_METRIC_WEIGHTS", str(place))
        assert find_weights("alexnet") == file


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, state = small_alexnet()
    torch.save(state, tmp_path / NETWORKS["alexnet"].file)
    with pytest.raises(InputError, match=r"SHA-256(.|\n)*7be5be79"):
        create_metric("alexnet2/strict-v1", weights_folder=tmp_path)
    for broken in (
        {k: v for k, v in state.items() if k != "features.3.bias"},
        state | {"features.99.weight": torch.zeros(1)},
    ):
        stored(monkeypatch, tmp_path, "alexnet", broken)
        with pytest.raises(InputError, match="does not hold the weights of alexnet"):
            create_metric("alexnet2/strict-v1", weights_folder=tmp_path)


def test_features_are_found_again_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Array
) -> None:
    _, state = small_alexnet()
    stored(monkeypatch, tmp_path, "alexnet", state)
    frozen = FrozenFeatures(
        "alexnet", "features.11", sizes=(64,), resize="pillow-bilinear", colours="imagenet",
        weights_folder=tmp_path,
    )  # fmt: skip
    cache = FeatureCache(tmp_path / "cache", frozen.identity)
    first = cache.encode(frozen, pictures)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    assert len(files) == 3
    assert files[0].parent.parent.name == frozen.identity
    asked: list[int] = []
    monkeypatch.setattr(
        FrozenFeatures, "_through_network", lambda self, rows: asked.append(len(rows))
    )
    np.testing.assert_array_equal(cache.encode(frozen, pictures[::-1]), first[::-1])
    assert asked == []  # nothing went through the network
    monkeypatch.undo()
    files[1].write_bytes(b"damaged")
    frozen._recent.clear()
    np.testing.assert_allclose(cache.encode(frozen, pictures), first, atol=1e-6)
    changed = pictures.copy()
    changed[0, 0, 0, 0] ^= 1
    cache.encode(frozen, changed)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 4
