"""Pictures that a recipe renders and encodes once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from phosphene.checkpoints.recipes.scene_pictures import encoded_pictures, scene_pictures
from phosphene.encoders.stimulus.pixels import PixelTarget


def test_the_first_of_more_scenes_serve_and_nothing_is_encoded_twice(tmp_path: Path) -> None:
    more = scene_pictures(tmp_path, 3, split="validation")
    few = scene_pictures(tmp_path, 2, split="validation")
    np.testing.assert_array_equal(few, more[:2])
    assert len(list(tmp_path.glob("*.npy"))) == 1
    assert len(scene_pictures(tmp_path, 4, split="validation")) == 4  # three are too few
    path, target = tmp_path / "pixels.safetensors", PixelTarget(8, 3)
    first = encoded_pictures(path, target, more)
    assert first.dtype == torch.float16
    torch.testing.assert_close(first.float(), target.encode(more), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(encoded_pictures(path, target, more[:0]), first)  # read back
    other = PixelTarget(4, 3)
    assert encoded_pictures(path, other, more)[0].numel() == 48  # of another target: done anew
