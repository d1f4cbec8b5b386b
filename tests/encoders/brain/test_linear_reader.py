"""Networks with a linear map per subject: new maps from voxels that respond alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.linear_reader import LinearReader
from phosphene.encoders.brain.voxel_profiles import ProfileBasis
from phosphene.errors import InputError, UsageError

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"width": 12, "depth": 1},
    "mindeye1": {"width": 12, "depth": 1, "projector_width": 8},
    "mindeye2": {"width": 12, "rank": 4},
}


def make(name: str, size: int = 5) -> LinearReader:
    torch.manual_seed(0)
    made: LinearReader = BRAIN_ENCODERS.get(name)(
        voxels={"01": 20, "02": 16}, targets={"tokens": (3, 10)}, profile_size=size, **SMALL[name]
    )
    return made.eval()


def profiles(n: int) -> Tensor:
    """Return voxels of four kinds in turn, the same ones in every subject."""
    kinds = torch.linalg.qr(torch.randn(5, 4, generator=torch.Generator().manual_seed(3))).Q.T
    return kinds[torch.arange(n) % 4]


@pytest.mark.parametrize("name", list(SMALL))
def test_a_new_map_has_the_columns_of_voxels_that_respond_alike(name: str, tmp_path: Any) -> None:
    encoder = make(name)
    assert encoder.profile_basis is None
    basis = ProfileBasis(torch.zeros(30), torch.randn(30, 5))
    encoder.align({"01": profiles(20), "02": profiles(16)}, basis)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.add_subject("03", 8)
    half = profiles(8) * torch.tensor([1.0] * 4 + [0.5] * 4)[:, None]
    encoder.align_subject("03", half, neighbours=9)
    columns = torch.cat([encoder.linear_of(label).weight.T for label in ("01", "02")])
    kind = torch.cat([torch.arange(20), torch.arange(16)]) % 4
    found = encoder.linear_of("03").weight.T
    for voxel in range(8):
        alike = columns[kind == voxel % 4].mean(0)  # nine of each kind
        torch.testing.assert_close(found[voxel], alike * (1.0 if voxel < 4 else 0.5))
    for key, value in before.items():
        assert torch.equal(encoder.state_dict()[key], value), key
    assert encoder.profile_basis is not None
    assert torch.equal(encoder.profile_basis.components, basis.components)

    encoder.save_pretrained(tmp_path / "e")
    again = type(encoder).from_pretrained(tmp_path / "e")
    voxels = torch.randn(4, 8)
    assert torch.equal(again.eval().respond("03", voxels), encoder.respond("03", voxels))
    with pytest.raises(InputError, match="profiles of shape"):
        again.align_subject("03", half[1:])


@pytest.mark.parametrize("name", list(SMALL))
def test_profiles_are_no_parameters_and_need_not_be_kept(name: str) -> None:
    plain, kept = make(name, 0), make(name)
    assert plain.profile_basis is None
    assert set(dict(plain.named_parameters())) == set(dict(kept.named_parameters()))
    assert "profile_mean" not in plain.state_dict()
    voxels = torch.randn(3, 20)
    assert torch.equal(plain.respond("01", voxels), kept.respond("01", voxels))
    with pytest.raises(UsageError, match="profile_size"):
        make(name, -1)
