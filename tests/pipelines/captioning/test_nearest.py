"""The caption of the nearest picture, which is the picture's own where it is in the index."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.clip_vision import ClipVisionTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError
from phosphene.pipelines.captioning.base import open_captioner
from phosphene.pipelines.retrieval.building import IndexConfig, build_index
from phosphene.types import BrainEmbedding

N = 8


def index(root: Path, target: ClipVisionTarget, pictures: Pictures, *, captions: bool) -> Path:
    folder = root / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(pictures[:N]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        if captions and number != 3:
            (folder / f"{number}.txt").write_text(f" scene {number} \n")
    target.save_pretrained(root / "target")
    built = build_index(
        IndexConfig(
            pictures=str(folder), target=f"local-dir:{root / 'target'}",
            output=str(root / "index"), kind="flat", metric="euclidean",
        )
    )  # fmt: skip
    return built.folder


def test_own_pictures_have_their_own_captions(
    target: ClipVisionTarget, pictures: Pictures, tmp_path: Path
) -> None:
    folder = index(tmp_path, target, pictures, captions=True)
    captioner = open_captioner(f"nearest:{folder}", target)
    values = target.encode(pictures[:N])
    found = captioner.caption(BrainEmbedding(tokens=values))
    for number in (0, 1, 2, 4, 5, 6, 7):
        assert found[number] == f"scene {number}"
    # Picture 3 has none: it gets that of the nearest one that has.
    distances = (values - values[3]).flatten(1).norm(dim=1)
    distances[3] = float("inf")
    assert found[3] == f"scene {int(distances.argmin())}"
    assert captioner.caption(BrainEmbedding(tokens=values[5:6])) == ["scene 5"]
    with pytest.raises(InputError, match="in the space of pixels"):
        open_captioner(f"nearest:{folder}", PixelTarget(8, 3))


def test_an_index_without_captions_is_refused(
    target: ClipVisionTarget, pictures: Pictures, tmp_path: Path
) -> None:
    folder = index(tmp_path, target, pictures, captions=False)
    captioner = open_captioner(f"nearest:{folder}", target)
    with pytest.raises(InputError, match="nearest to item 0 has a caption"):
        captioner.caption(BrainEmbedding(tokens=target.encode(pictures[:2])))
    with pytest.raises(InputError, match="there is no index"):
        open_captioner(f"nearest:{tmp_path}", target)
