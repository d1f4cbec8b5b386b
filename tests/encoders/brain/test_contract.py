"""What every brain encoder of the registry keeps to, ridge and networks alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.importance import occlude_regions, save_voxel_map, voxel_importance
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_component
from phosphene.trials import complete_trials
from phosphene.types import BrainEmbedding, Recording, VoxelSpace

VOXELS = {"01": 37, "02": 23}  # no two subjects alike
SHAPES: dict[str, tuple[int, ...]] = {"tokens": (3, 10), "pooled": (7,), "lowlevel": (2, 8, 12)}
SMALL: dict[str, dict[str, Any]] = {
    "bit": {"width": 16, "clusters": 5, "depth": 2, "heads": 2},
    "mlp": {"width": 12, "depth": 1},
    "mindeye1": {
        "width": 12, "depth": 2, "projector_width": 14, "latent_channels": [16, 16, 16],
    },
    "mindeye2": {"width": 12, "rank": 8, "depth": 1, "latent_channels": [16, 16, 16]},
    "roi_transformer": {"width": 16, "regions": 4, "depth": 1, "heads": 2},
}  # fmt: skip
KEY_OFFSETS = ("to_k.bias", "lin_key.bias")
NAMES = [name for name in BRAIN_ENCODERS.names() if name != "electric"]  # of sensors, not voxels
NETWORKS = [name for name in NAMES if name != "ridge"]


def recording(subject: str, n: int = 9, seed: int = 0) -> Recording:
    rng = np.random.default_rng([seed, int(subject)])
    data = rng.normal(size=(n, VOXELS[subject])).astype(np.float32)
    table = pd.DataFrame({"stimulus_id": [f"p{row % 6}" for row in range(n)]})
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    indices = np.sort(rng.choice(6 * 5 * 4, VOXELS[subject], replace=False))
    space = VoxelSpace((6, 5, 4), indices, affine)
    return Recording(data, "fmri", subject, complete_trials(table, n), space)


def make(name: str, part: str = "tokens", **more: tuple[int, ...]) -> Any:
    """Return an encoder of both subjects that predicts ``part`` and, networks, more beside it."""
    kind = BRAIN_ENCODERS.get(name)
    torch.manual_seed(3)
    if name != "ridge":
        targets = {part: SHAPES[part], **more}
        return kind(voxels=VOXELS, targets=targets, **SMALL[name]).eval()
    encoder = kind()
    for subject in VOXELS:
        encoder.fit(recording(subject, seed=7), torch.randn(9, *SHAPES[part]))
    return encoder


def parts(embedding: BrainEmbedding) -> dict[str, Tensor]:
    found = {part: getattr(embedding, part) for part in SHAPES}
    return {part: values for part, values in found.items() if values is not None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", list(SHAPES))
def test_any_part_for_any_number_of_voxels(name: str, part: str) -> None:
    encoder = make(name, part)
    assert encoder.subjects == ["01", "02"]
    for subject, n in (("01", 9), ("02", 1)):
        found = parts(encoder.encode(recording(subject, n)))
        assert list(found) == [part]
        assert found[part].shape == (n, *SHAPES[part])
        assert found[part].isfinite().all()
        assert not found[part].requires_grad


@pytest.mark.parametrize("name", NETWORKS)
def test_all_parts_at_once(name: str) -> None:
    encoder = make(name, "tokens", pooled=SHAPES["pooled"], lowlevel=SHAPES["lowlevel"])
    found = parts(encoder.encode(recording("02", 4)))
    assert {part: tuple(values.shape[1:]) for part, values in found.items()} == SHAPES
    keys = encoder.search_keys(recording("02", 4))
    assert keys.shape == (4, 30)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_rows_give_alone(name: str) -> None:
    """To the last bit, in any order and any company."""
    encoder, items = make(name), recording("01", 70)
    whole = encoder.encode(items).tokens
    for row in (0, 33, 69):
        assert torch.equal(encoder.encode(items.select(np.array([row]))).tokens[0], whole[row])
    order = np.random.default_rng(0).permutation(70)
    assert torch.equal(encoder.encode(items.select(order)).tokens, whole[torch.from_numpy(order)])


@pytest.mark.parametrize("name", NETWORKS)
def test_latents_of_a_batch_are_those_of_its_rows(name: str) -> None:
    encoder, items = make(name, lowlevel=SHAPES["lowlevel"]), recording("01", 40)
    whole = encoder.encode(items).lowlevel
    alone = [encoder.encode(items.select(np.array([row]))).lowlevel for row in (3, 39)]
    torch.testing.assert_close(torch.cat(alone), whole[[3, 39]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_several_subjects_is_each_subject_alone(name: str) -> None:
    encoder = make(name, lowlevel=SHAPES["lowlevel"]).double()  # rounding aside
    batch = {s: torch.from_numpy(recording(s, n).data).double() for s, n in (("02", 5), ("01", 3))}
    with torch.no_grad():
        mixed = encoder(batch)
        alone = [encoder({subject: rows}) for subject, rows in batch.items()]
    for part, values in mixed.items():
        expected = torch.cat([one[part] for one in alone])
        torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_is_exact(name: str, tmp_path: Path) -> None:
    encoder = make(name)
    json.dumps(encoder.config)
    encoder.save_pretrained(tmp_path / "e")
    again = load_component(tmp_path / "e", BRAIN_ENCODERS)
    assert type(again) is type(encoder)
    for subject in VOXELS:
        items = recording(subject, 5, seed=2)
        assert torch.equal(again.encode(items).tokens, encoder.encode(items).tokens)
    tensors = encoder.tensors()
    tensors.pop(next(iter(tensors)))
    with pytest.raises(InputError):
        encoder.load_tensors(tensors)


@pytest.mark.parametrize("name", NAMES)
def test_refusals_say_what_to_do(name: str) -> None:
    encoder, items = make(name), recording("01")
    stranger = Recording(items.data, "fmri", "09", items.trials)
    with pytest.raises(UsageError, match=r"sub-09[\s\S]*--subject 09"):
        encoder.encode(stranger)
    fewer = Recording(items.data[:, 1:], "fmri", "01", items.trials)
    with pytest.raises(InputError, match=r"36 values[\s\S]*37"):
        encoder.encode(fewer)


@pytest.mark.parametrize("name", NAMES)
def test_occlusion_and_importance(name: str, tmp_path: Path) -> None:
    encoder, items = make(name), recording("01", 12)
    half = np.arange(VOXELS["01"]) < 15
    regions = {"none": np.zeros(37, dtype=bool), "V1": half, "all": np.ones(37, dtype=bool)}
    targets = encoder.encode(items).tokens
    effects = {e.region: e for e in occlude_regions(encoder, items, regions, targets)}
    assert effects["none"].change == 0
    assert effects["V1"].change > 0
    assert effects["V1"].n_voxels == 15
    assert effects["all"].r2_lost >= 1 - 1e-6  # a constant explains nothing
    with pytest.raises(InputError, match="V1"):
        occlude_regions(encoder, items, {"V1": half[1:]})

    importance = voxel_importance(encoder, items)
    assert importance.shape == (37,)
    assert (importance >= 0).all()
    assert importance.max() > 0
    assert np.array_equal(importance, voxel_importance(encoder, items))
    assert items.space is not None
    save_voxel_map(tmp_path / "map.nii.gz", importance, items.space)
    image: Any = nibabel.load(tmp_path / "map.nii.gz")
    assert np.array_equal(image.affine, items.space.affine)
    volume = image.get_fdata(dtype=np.float32).reshape(-1)
    assert np.array_equal(volume[items.space.indices], importance)
    assert np.isnan(volume).sum() == 6 * 5 * 4 - 37


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    """No dead parts: one step of training moves every tensor."""
    encoder = make(name, pooled=SHAPES["pooled"], lowlevel=SHAPES["lowlevel"]).train()
    before = {key: value.clone() for key, value in encoder.named_parameters()}
    batch = {s: torch.from_numpy(recording(s, 8).data) for s in VOXELS}
    torch.manual_seed(0)
    noise = torch.Generator().manual_seed(1)
    loss = torch.tensor(0.0)
    for values in encoder(batch).values():
        loss = loss + (values - torch.randn(values.shape, generator=noise)).square().mean()
    loss.backward()
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    for key, value in encoder.named_parameters():
        # An offset that all keys of an attention share cancels in its softmax.
        if not key.endswith(KEY_OFFSETS):
            assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_subject_leaves_the_others_as_they_were(name: str, tmp_path: Path) -> None:
    encoder: NetworkEncoder = make(name)
    items = recording("01", 5)
    before = encoder.encode(items).tokens
    encoder.add_subject("07", 19)
    assert encoder.subjects == ["01", "02", "07"]
    assert torch.equal(encoder.encode(items).tokens, before)
    new = Recording(items.data[:, :19], "fmri", "07", items.trials)
    assert encoder.encode(new).tokens.shape == (5, 3, 10)
    own, shared = encoder.own_parameters("07"), encoder.shared_parameters()
    assert own
    assert shared
    assert not set(own) & set(shared)
    encoder.save_pretrained(tmp_path / "e")
    again = load_component(tmp_path / "e", BRAIN_ENCODERS)
    assert torch.equal(again.encode(new).tokens, encoder.encode(new).tokens)
    with pytest.raises(UsageError, match="knows sub-07 already"):
        encoder.add_subject("07", 19)


@pytest.mark.parametrize("name", NETWORKS)
def test_encoding_is_free_of_dropout_and_keeps_the_mode(name: str) -> None:
    encoder: nn.Module = make(name).train()
    items = recording("01", 5)
    first = encoder.encode(items).tokens  # type: ignore[operator]
    assert torch.equal(first, encoder.encode(items).tokens)  # type: ignore[operator]
    assert encoder.training


@pytest.mark.parametrize("name", NETWORKS)
def test_wrong_shapes_are_refused(name: str) -> None:
    kind = BRAIN_ENCODERS.get(name)
    for voxels, targets in (
        ({}, {"tokens": (3, 4)}),
        ({"01": 0}, {"tokens": (3, 4)}),
        ({"01": 5}, {}),
        ({"01": 5}, {"words": (3, 4)}),
        ({"01": 5}, {"pooled": (3, 4)}),
    ):
        with pytest.raises(UsageError):
            kind(voxels=voxels, targets=targets, **SMALL[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_tokens_pooled_and_retrieval_come_by_name(name: str) -> None:
    """Whatever parts a network has, they are what `forward` returns, beside its search keys."""
    encoder = make(name, "tokens", pooled=SHAPES["pooled"], lowlevel=SHAPES["lowlevel"])
    rows = torch.from_numpy(recording("01", 4).data)
    with torch.no_grad():
        found = encoder({"01": rows})
    assert set(found) - {"retrieval"} == set(SHAPES)
    embedding = encoder.encode(recording("01", 4))
    for part, values in parts(embedding).items():
        torch.testing.assert_close(values, found[part], rtol=1e-5, atol=1e-5)
    keys = encoder.search_keys(recording("01", 4))
    expected = found.get("retrieval", found["tokens"]).flatten(1)
    torch.testing.assert_close(keys, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_occluding_a_network_is_occluding_all_of_its_regions(name: str) -> None:
    encoder, items = make(name), recording("02", 10)
    first, second = np.arange(23) < 6, np.arange(23) >= 17
    silent = np.where(first | second, 0, items.data).astype(np.float32)
    (effect,) = occlude_regions(encoder, items, {"network": first | second})
    whole = encoder.encode(items).tokens.double()
    changed = encoder.encode(Recording(silent, "fmri", "02", items.trials)).tokens.double()
    spread = (whole - whole.mean(0)).square().sum()
    assert effect.change == pytest.approx(float((changed - whole).square().sum() / spread))
    assert effect.n_voxels == 12


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_subject_says_nothing_or_what_its_neighbours_say(name: str) -> None:
    """A random map would add noise to what a short training finds."""
    encoder: NetworkEncoder = make(name)
    encoder.add_subject("07", 37)
    items = recording("01", 6)
    tokens = encoder.encode(Recording(items.data, "fmri", "07", items.trials)).tokens
    assert tokens is not None
    assert tokens.isfinite().all()
    if name != "bit":  # which is aligned by profiles
        assert torch.equal(tokens, tokens[:1].expand_as(tokens))
    learning = encoder.respond("07", torch.from_numpy(items.data)).square().sum()
    learning.backward()
    assert any(p.grad is not None and p.grad.any() for p in encoder.own_parameters("07").values())
