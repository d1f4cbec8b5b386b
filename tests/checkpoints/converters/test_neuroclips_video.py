"""NeuroClips as a decoder of clips: both networks, each clip by itself, mistakes told."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.data.movies import MovieRun, open_movie
from phosphene.data.movies.cc2017 import polynomial_residuals
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.video.keyframe_flow import KeyframeFlow
from phosphene.pipelines.video.model import load_video_model
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

VOXELS, VOLUMES = 9, 14


@pytest.fixture(scope="module")
def folders(made: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("neuroclips")
    content = made.mindeye2_weights(voxels=(VOXELS,), lowlevel=False)
    torch.save(
        {"model_state_dict": content | {"clipproj.proj": torch.zeros(16, 4)}}, root / "SR.pth"
    )
    torch.save({"model_state_dict": made.perception_weights(v=VOXELS)}, root / "PR.pth")
    for name in ("SR", "PR"):
        convert_file(root / f"{name}.pth", root / name, subjects=["01"])
    return root / "SR", root / "PR"


@pytest.fixture(scope="module")
def run() -> MovieRun:
    data = np.random.default_rng(3).normal(100, 2, (VOLUMES, VOXELS)).astype(np.float32)
    trials = complete_trials(None, VOLUMES)
    recording = Recording(data, "fmri", "01", trials, VoxelSpace.columns(VOXELS))
    return MovieRun(recording, "seg1", tr=2.0, onset=-2.0, duration=28.0)


def test_both_networks_decode_each_clip_from_its_own_volume(
    folders: tuple[Path, Path], run: MovieRun, made: Any, maths: Any
) -> None:
    model = load_video_model(f"neuroclips:{folders[0]},{folders[1]}", device="cpu")
    assert isinstance(model.generator, KeyframeFlow)
    assert model.generator.latents is None  # its picture generator has other latents
    clips = model.clips(run)
    assert (clips.rows[:, 0] == clips.start / 2 + 1).all()  # 4 s later, the run began at second 2
    decoded = model.decode(run, clips)
    x = torch.from_numpy(polynomial_residuals(run.recording.data)[clips.rows[:, 0]])
    latents = maths.perception(made.perception_weights(v=VOXELS), x, 3)
    torch.testing.assert_close(decoded["lowlevel"].flatten(1, 2), latents, rtol=0, atol=1e-3)
    assert decoded["lowlevel"].shape[1:] == (3, 4, 4, 4)
    weights = made.mindeye2_weights(voxels=(VOXELS,), lowlevel=False)
    tokens = maths.mindeye2(weights, x)["retrieval"]
    torch.testing.assert_close(decoded["tokens"], tokens, rtol=0, atol=1e-4)
    assert "lowlevel" not in model.embedding(decoded).parts


def test_the_company_of_a_clip_has_no_say(folders: tuple[Path, Path], run: MovieRun) -> None:
    """The published attention over time runs over all clips of a batch; here it does not."""
    model = load_video_model(f"neuroclips:{folders[0]},{folders[1]}", device="cpu")
    clips = model.clips(run)
    whole = model.decode(run, clips)  # random weights magnify rounding: hence the tolerances
    order = np.random.default_rng(1).permutation(len(clips))
    permuted = model.decode(run, clips.select(order))
    alone = model.decode(run, clips.select(np.array([4])))
    for head, part in whole.items():
        torch.testing.assert_close(permuted[head], part[torch.from_numpy(order)], rtol=0, atol=5e-4)
        torch.testing.assert_close(alone[head], part[4:5], rtol=0, atol=5e-4)


def test_the_public_command_takes_both_folders(
    folders: tuple[Path, Path], run: MovieRun, tmp_path: Path, cli: Any
) -> None:
    np.save(tmp_path / "run.npy", run.recording.data)
    flags = ("--subject", "01", "--input", tmp_path / "run.npy", "--video", "--onset", "-2")
    name = f"neuroclips:{folders[0]},{folders[1]}"
    words = ("--tr", "2", "--output", tmp_path / "out", "--dry-run")
    done = cli("reconstruct", *flags, "--model", name, *words).succeeds()
    assert "input and model fit together" in done.out
    cli("reconstruct", *flags, "--tr", "1", "--model", name).refuses(3, "TR of 1 s", "2 s")
    cli("reconstruct", *flags, "--tr", "2", "--model", f"neuroclips:{folders[0]}").refuses(
        2, "does not name two folders"
    )


@pytest.fixture(scope="module")
def tiny_video() -> Any:
    """Real pipelines of tiny networks, of which AnimateDiff moves and unCLIP renders keyframes."""
    generators = Path(__file__).parents[2] / "pipelines" / "generators"
    spec = importlib.util.spec_from_file_location(
        "neuroclips_tiny_video", generators / "video" / "tiny_video_pipelines.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("generator", ["keyframe_flow", "animatediff"])
def test_clips_are_rendered_to_the_end(
    generator: str, folders: tuple[Path, Path], run: MovieRun, tiny_video: Any, tmp_path: Path,
    cli: Any,
) -> None:  # fmt: skip
    unclip = tiny_video.tiny.sdxl_unclip(tmp_path / "unclip")
    np.save(tmp_path / "run.npy", run.recording.data[:7])
    moves = [generator]
    if generator == "animatediff":
        folder = tiny_video.animatediff(tmp_path / "animatediff")
        chosen = {"start": 0.5, **tiny_video.OPTIONS["animatediff"]}
        moves = [
            f"animatediff:local-dir:{folder}",
            *(
                f"--set=generator_options.{key}={json.dumps(value)}"
                for key, value in chosen.items()
            ),
        ]
    out = tmp_path / "out"
    done = cli(
        "reconstruct", "--subject", "01", "--video", "--input", tmp_path / "run.npy", "--tr", 2,
        "--onset", -4, "--fps", 4, "--steps", 2, "--batch-size", 4, "--output", out,
        "--model", f"neuroclips:{folders[0]},{folders[1]}",
        "--set", f"keyframes=sdxl-unclip:local-dir:{unclip}", "--set", "keyframe_options.size=16",
        "--set", "seams=false",
        "--generator", *moves,
    ).succeeds()  # fmt: skip
    assert "clips: 7" in done.out
    frames = np.stack([np.load(path) for path in sorted(out.rglob("*_frames.npy"))])
    assert frames.shape[:2] == (7, 8)
    still = (frames[:, 1:] == frames[:, :-1]).all()
    assert still == (generator == "keyframe_flow")  # there is no optical flow to move them
    assert len({clip.tobytes() for clip in frames}) == 7
    movie = open_movie(out / "sub-01" / "sub-01_item-000006_sample-00_desc-recon_video.mp4")
    assert (movie.n_frames, movie.fps) == (8, 4.0)


def test_what_does_not_go_together_is_told(
    folders: tuple[Path, Path], made: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds the encoder"):
        load_video_model(f"neuroclips:{folders[1]},{folders[0]}", device="cpu")
    with pytest.raises(UsageError, match="does not name two folders"):
        load_video_model("neuroclips:a,b,c")
    torch.save({"model_state_dict": made.perception_weights(v=7)}, tmp_path / "PR.pth")
    convert_file(tmp_path / "PR.pth", tmp_path / "PR", subjects=["01"])
    with pytest.raises(InputError, match="different voxels"):
        load_video_model(f"neuroclips:{folders[0]},{tmp_path / 'PR'}", device="cpu")
