"""Runs and movies that cannot be used: one message each, through the public command."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from phosphene.data.movies import write_movie

Change = Callable[[Path, np.ndarray], list[Any]]
SECONDS = 12


def _saved(folder: Path, data: np.ndarray, *flags: Any) -> list[Any]:
    np.save(folder / "run.npy", data)
    return list(flags)


def _with_json(folder: Path, data: np.ndarray) -> list[Any]:
    (folder / "run.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    return _saved(folder, data, "--tr", "1")


def _nan(folder: Path, data: np.ndarray) -> list[Any]:
    broken = data.copy()
    broken[7, 3] = np.nan
    return _saved(folder, broken, "--tr", "1")


def _infinite(folder: Path, data: np.ndarray) -> list[Any]:
    broken = data.copy()
    broken[2] = np.inf
    return _saved(folder, broken, "--tr", "1")


def _long_movie(folder: Path, data: np.ndarray) -> list[Any]:
    write_movie(folder / "long.mp4", np.zeros((160, 16, 16, 3), np.uint8), 4.0)
    return _saved(folder, data, "--tr", "1", "--truth", folder / "long.mp4")


def _short_movie(folder: Path, data: np.ndarray) -> list[Any]:
    write_movie(folder / "short.mp4", np.zeros((12, 16, 16, 3), np.uint8), 4.0)
    data = np.concatenate([data, data])
    return _saved(folder, data, "--tr", "1", "--truth", folder / "short.mp4")


def _trailer(folder: Path, data: np.ndarray) -> list[Any]:
    write_movie(folder / "trailer.mp4", np.zeros((2, 16, 16, 3), np.uint8), 4.0)
    return _saved(folder, data, "--tr", "1", "--truth", folder / "trailer.mp4")


def _frames_at(folder: Path, places: list[int], name: str = "m.mp4") -> Path:
    with av.open(str(folder / name), "w") as container:
        stream: Any = container.add_stream("libvpx-vp9", rate=4)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for place in places:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return folder / name


def _uneven(folder: Path, data: np.ndarray) -> list[Any]:
    places = [k + (k > 20) * 5 for k in range(4 * SECONDS)]
    return _saved(folder, data, "--tr", "1", "--truth", _frames_at(folder, places))


def _unknown_codec(folder: Path, data: np.ndarray) -> list[Any]:
    path = _frames_at(folder, list(range(4 * SECONDS)))
    path.write_bytes(path.read_bytes().replace(b"vp09", b"qqqq"))
    return _saved(folder, data, "--tr", "1", "--truth", path)


def _no_video(folder: Path, data: np.ndarray) -> list[Any]:
    with wave.open(str(folder / "sound.avi"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0" * 16000)
    return _saved(folder, data, "--tr", "1", "--truth", folder / "sound.avi")


def _two_movies(folder: Path, data: np.ndarray) -> list[Any]:
    (folder / "run_events.tsv").write_text(
        "onset\tduration\tstimulus_id\n2\t6\ta\n8\t6\tb\n", encoding="utf-8"
    )
    np.save(folder / "run_bold.npy", data)
    return ["--tr", "1", "--input", folder / "run_bold.npy"]


CASES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "no TR": (lambda f, d: _saved(f, d), ("does not state", "--tr")),
    "TR against the header": (_with_json, ("--tr is 1 s", "2 s")),
    "another TR than the model": (lambda f, d: _saved(f, d, "--tr", "2"), ("TR of 2 s",)),
    "no TR of this world": (lambda f, d: _saved(f, d, "--tr", "1500"), ("TR of 1500",)),
    "shorter than the window": (lambda f, d: _saved(f, d[:5], "--tr", "1"), ("5 volumes",)),
    "one volume": (lambda f, d: _saved(f, d[:1], "--tr", "1"), ("volume",)),
    "onset beyond the run": (
        lambda f, d: _saved(f, d, "--tr", "1", "--onset", "400"), ("before the run ends",),
    ),
    "onset long before the run": (
        lambda f, d: _saved(f, d, "--tr", "1", "--onset", "-400", "--truth", "FILM"),
        ("a movie that is running during the run",),
    ),
    "movie longer than the run": (_long_movie, ("before the movie", "as long as the movie")),
    "movie shorter than the run": (_short_movie, ("after the movie", "of one length")),
    "movie shorter than a clip": (_trailer, ("lasts 0.5 s", "at least one clip of 2 s")),
    "variable frame rate": (_uneven, ("variable frame rate", "ffmpeg")),
    "unknown codec": (_unknown_codec, ("m.mp4",)),
    "no video": (_no_video, ("sound.avi",)),
    "NaN": (_nan, ("run.npy",)),
    "infinite": (_infinite, ("run.npy",)),
    "two movies in the events": (_two_movies, ("names 2 movies",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_message(name: str, video_toy: Any, tmp_path: Path, cli: Any) -> None:
    make, words = CASES[name]
    flags = make(tmp_path, np.load(video_toy.run))
    shutil.copy(video_toy.truth, tmp_path / "film.mp4")
    flags = [tmp_path / "film.mp4" if flag == "FILM" else flag for flag in flags]
    known = ["--input", tmp_path / "run.npy", "--onset", "2"]
    for flag in ("--input", "--onset"):
        if flag in flags:
            place = known.index(flag)
            known = known[:place] + known[place + 2 :]
    out = tmp_path / "out"
    cli(
        "reconstruct", "--subject", "01", "--video", "--model", video_toy.model, *known, *flags,
        "--output", out,
    ).refuses(3, *words)  # fmt: skip
    assert not out.exists()


def test_a_model_of_pictures_makes_no_clips(video_toy: Any, picture_model: Path, cli: Any) -> None:
    cli(
        "reconstruct", "--subject", "01", "--input", video_toy.run, "--video", "--tr", "1",
        "--model", picture_model,
    ).refuses(3, "holds a model of pictures", "leave --video away")  # fmt: skip
