"""Features of several levels: what they are, and the way back to pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.inverter import train_inverter

pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra metrics")
from phosphene.encoders.stimulus.levels import LevelsTarget


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    return render(sample_scenes(0, 72), 32).images


@pytest.fixture(scope="module")
def target(scenes: Pictures) -> LevelsTarget:
    torch.manual_seed(0)
    made = LevelsTarget(size=64, shown=16, width=24)
    made.standardise(scenes[:32])
    return made


def test_levels_are_what_hooks_see(target: LevelsTarget, scenes: Pictures) -> None:
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        target.network._blocks[last].register_forward_hook(
            lambda _, __, output, last=last: seen.__setitem__(last, output)
        )
        for last in (0, 2, 4, 10)
    ]
    enlarged = np.stack([np.asarray(scenes[0])])
    from phosphene.data.pictures import fit_pictures

    values = torch.from_numpy(fit_pictures(enlarged, size=64, channels=3)).permute(0, 3, 1, 2)
    with torch.no_grad():
        target.network.extract_features((values.float() - 127) / 128)
    for hook in hooks:
        hook.remove()
    expected = torch.cat(
        [F.avg_pool2d(seen[k], seen[k].shape[-1] // side).flatten() for k, side in
         ((0, 8), (2, 8), (4, 8), (10, 4))]
    )  # fmt: skip
    found = target.encode(scenes[:1])[0] * target.target_scale + target.target_mean
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert target.spec.shape == (16 * 64 + 24 * 64 + 40 * 64 + 112 * 16,)


def test_an_item_gets_the_same_in_any_company(target: LevelsTarget, scenes: Pictures) -> None:
    order = np.array([4, 0, 2])
    together = target.encode(scenes[:5])
    assert torch.equal(target.encode(scenes[order]), together[order])
    assert torch.equal(target.decode(together[[2]]), target.decode(together)[[2]])


def test_the_way_back_is_learned(target: LevelsTarget, scenes: Pictures, tmp_path: Path) -> None:
    again = LevelsTarget.from_config(target.config)
    again.load_tensors(target.tensors())
    config = EngineConfig(epochs=40, batch_size=16, learning_rate=4e-3)
    result = train_inverter(again, scenes, config, folder=tmp_path, held_out=24)
    from phosphene.data.pictures import fit_pictures

    shown = fit_pictures(scenes, size=16, channels=3).astype(float) / 255
    mean_picture = np.square(shown[48:] - shown[:48].mean(0)).mean()
    assert min(row["validation"] for row in result.history) < 0.7 * mean_picture
    assert again.spec.hash == target.spec.hash  # the way back is no part of what is predicted
    assert not torch.equal(again.tensors()["inverter.draw.1.weight"],
                           target.tensors()["inverter.draw.1.weight"])  # fmt: skip


def test_saving_is_exact_and_bad_input_is_refused(
    target: LevelsTarget, scenes: Pictures, tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path / "target")
    again = LevelsTarget.from_pretrained(tmp_path / "target")
    assert again.spec.hash == target.spec.hash
    values = target.encode(scenes[:2])
    assert torch.equal(again.decode(values), target.decode(values))
    with pytest.raises(InputError, match="mean"):
        again.load_tensors({**target.tensors(), "mean": torch.zeros(3)})
    with pytest.raises(UsageError, match="64 pixels"):
        LevelsTarget(size=32)
    with pytest.raises(UsageError, match="grid of 8"):
        LevelsTarget(size=64, shown=20)
    with pytest.raises(InputError, match="predictions"):
        train_inverter(target, scenes, EngineConfig(), folder=tmp_path, decoded=values)
