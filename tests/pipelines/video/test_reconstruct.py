"""What `reconstruct --video` promises: files, times, resuming, seams, messages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.data.movies import open_movie
from phosphene.data.movies.standardising import standardised
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.clips import read_clip
from phosphene.pipelines.video.model import load_video_model
from phosphene.pipelines.video.output import write_preview
from phosphene.pipelines.video.reading import read_shown
from phosphene.pipelines.video.reconstruct import VideoConfig, reconstruct_video
from phosphene.pipelines.video.seams import blended, is_reset
from phosphene.schemas.video import VideoSidecar
from phosphene.storage import hash_file, write_text


def config(toy, output: Path, **options: object) -> VideoConfig:
    known = {
        "subject": "01",
        "input": str(toy.run),
        "model": str(toy.model),
        "output": str(output),
        "tr": 1.0,
        "onset": 2.0,
        "fps": 4.0,
        "steps": 2,
    }
    return VideoConfig(**{**known, **options})


@pytest.fixture(scope="module")
def written(video_toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "out"
    folder, result = reconstruct_video(config(video_toy, output, truth=str(video_toy.truth)))
    assert folder == output
    assert result is not None
    assert len(result) == 6
    return output


def test_every_clip_has_its_files_and_they_agree(written: Path) -> None:
    table = pd.read_csv(written / "trials.tsv", sep="\t")
    assert table["start"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert table["stimulus_id"].iloc[1] == "film-3_at-002000"
    for file in table["file"]:
        stem = str(written / file).removesuffix("_desc-recon_video.mp4")
        movie = open_movie(written / file)
        frames = np.load(f"{stem}_desc-recon_frames.npy")
        sidecar = VideoSidecar.load(f"{stem}_desc-recon_video.json")
        preview = Image.open(f"{stem}_desc-preview_video.gif")
        assert frames.shape == (8, 16, 16, 3)
        assert (movie.fps, movie.n_frames) == (4.0, 8)
        assert preview.n_frames == 8 or (frames[1:] == frames[:-1]).any()
        assert sidecar.frames_hash == hash_file(f"{stem}_desc-recon_frames.npy")
        assert sidecar.first_frame == "decoded"
        # Read four seconds after the clip: the movie begins 2 s after the first volume.
        start = int(sidecar.start_seconds)
        assert sidecar.source_volumes == [start + 6, start + 7]
        assert sidecar.volume_times == [start + 4.0, start + 5.0]
    assert len(list((written / "stimuli").iterdir())) == 6
    assert json.loads((written / "run.json").read_text())["config"]["first_frame"] == "decoded"
    assert not (written / "raw").exists()


@pytest.mark.parametrize(("fps", "n_frames", "shown"), [(1, 2, 2), (30, 60, 60), (60, 120, 60)])
def test_previews_last_as_long_as_their_clips(
    fps: float, n_frames: int, shown: int, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (n_frames, 8, 8, 3), dtype=np.uint8)
    write_preview(tmp_path / "a.gif", frames, fps)
    with Image.open(tmp_path / "a.gif") as preview:
        assert preview.n_frames == shown
        times = []
        for number in range(shown):
            preview.seek(number)
            times.append(preview.info["duration"])
    assert sum(times) == 2000
    assert min(times) > 20


def test_numbers_stand_beside_their_controls(written: Path) -> None:
    metrics = json.loads((written / "metrics.json").read_text())["metrics"]
    assert [metric["id"] for metric in metrics] == ["video-ssim/strict-v1", "video-psnr/strict-v1"]
    for metric in metrics:
        assert {"still_picture", "still_truth", "grey_picture"} <= set(metric["baselines"])
        assert metric["permuted"]["n_permutations"] > 0


def test_the_report_is_one_file_with_two_films_per_clip(written: Path) -> None:
    page = (written / "report.html").read_text()
    words = pd.read_csv(written / "trials.tsv", sep="\t")["decoded_caption"]
    assert all(f"Nearest known words: {text}" in page for text in words)
    assert page.count("<video") == 12
    assert len(re.findall(r'src="data:video/mp4;base64,', page)) == 12
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_is_built_again_to_the_last_byte(written: Path, tmp_path: Path, cli) -> None:
    copy = tmp_path / "out"
    shutil.copytree(written, copy)
    (copy / "report.html").unlink()
    table, figure = tmp_path / "t.md", tmp_path / "f.png"
    done = cli("report", copy, "--markdown", table, "--figure", figure).succeeds()
    assert done.out.splitlines()[-1] == f"report: {copy / 'report.html'}"
    assert (copy / "report.html").read_bytes() == (written / "report.html").read_bytes()
    assert "video-ssim/strict-v1" in table.read_text()
    assert figure.read_bytes().startswith(b"\x89PNG")
    cli("report", copy, "--no-stimuli", "--markdown", table).succeeds()
    page = (copy / "report.html").read_text()
    assert page.count("<video") == 6
    assert "film-3" not in page + table.read_text()
    cli("report", copy, "--model", "x").refuses(2, "no map of voxels")
    next(copy.glob("sub-01/*item-000004*_video.mp4")).unlink()
    cli("report", copy).refuses(3, "lacks 1 of 6 clips")


def test_an_output_is_evaluated_by_its_frames_without_loss(
    written: Path, tmp_path: Path, cli
) -> None:
    cli(
        "evaluate", "--predictions", written, "--truth", written / "stimuli", "--metric",
        "video-psnr/strict-v1", "--output", tmp_path / "ev",
    ).succeeds()  # fmt: skip
    found = json.loads((tmp_path / "ev" / "evaluation.json").read_text())
    truths = [read_clip(path) for path in sorted((written / "stimuli").iterdir())]
    shown = [np.load(path) for path in sorted(written.rglob("*_frames.npy"))]
    errors = [
        [np.square(a.astype(float) - b).mean() for a, b in zip(*pair, strict=True)]
        for pair in zip(shown, truths, strict=True)
    ]
    expected = 10 * np.log10(255**2 / np.array(errors))
    assert found["metrics"][0]["value"] == pytest.approx(expected.mean(), abs=1e-9)
    cli("report", tmp_path / "ev").succeeds()
    assert "one scene" not in found["interval_rule"]  # the film alone says nothing of its cuts


def test_clips_of_a_scene_are_drawn_together(written: Path, tmp_path: Path, cli) -> None:
    copy = tmp_path / "out"
    shutil.copytree(written, copy)
    table = pd.read_csv(copy / "trials.tsv", sep="\t", keep_default_na=False)
    table["scene"] = ["a-1/0000", "a-1/0000-0001"] + ["a-1/0001"] * 4
    table.to_csv(copy / "trials.tsv", sep="\t", index=False)
    cli(
        "evaluate", "--predictions", copy, "--truth", copy / "stimuli", "--metric",
        "video-psnr/strict-v1", "--output", tmp_path / "ev",
    ).succeeds()  # fmt: skip
    found = json.loads((tmp_path / "ev" / "evaluation.json").read_text())
    assert found["interval_rule"].endswith("clips of one scene together")
    scores = np.array(found["metrics"][0]["per_item"])
    means = sorted([scores[:2].mean(), scores[2:].mean()])
    assert found["metrics"][0]["interval"] == pytest.approx(means)  # of two scenes, either alone


def test_a_run_that_was_interrupted_goes_on_to_the_same_files(
    video_toy, written: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    settings = config(video_toy, whole, truth=str(video_toy.truth))
    shutil.copytree(written, whole)
    partial = tmp_path / "cut" / ".partial"
    partial.mkdir(parents=True)
    shutil.copy(written / "run.json", partial / "run.json")
    again = config(video_toy, tmp_path / "cut", truth=str(video_toy.truth))
    with pytest.raises(UsageError):
        reconstruct_video(again)
    folder, _ = reconstruct_video(again, resume=True)
    arrays = sorted(written.rglob("*_frames.npy"))
    assert len(arrays) == 6
    for path in arrays:
        np.testing.assert_array_equal(np.load(path), np.load(folder / path.relative_to(written)))
    assert reconstruct_video(settings, resume=True)[1] is None
    assert reconstruct_video(config(video_toy, tmp_path / "dry"), dry_run=True)[1] is None
    assert not (tmp_path / "dry").exists()


def test_batches_and_missing_truth_change_no_frame(
    video_toy, written: Path, tmp_path: Path
) -> None:
    folder, result = reconstruct_video(config(video_toy, tmp_path / "a", batch_size="auto"))
    assert result is not None
    folder, result = reconstruct_video(config(video_toy, tmp_path / "b", batch_size=1))
    assert result is not None
    assert result.metrics is None
    assert not (folder / "stimuli").exists()
    for path in sorted(written.rglob("*_frames.npy")):
        np.testing.assert_array_equal(np.load(path), np.load(folder / path.relative_to(written)))


def test_every_head_is_decoded_for_every_clip(video_toy) -> None:
    from phosphene.data.movies.bids import read_movie_run

    model = load_video_model(str(video_toy.model))
    run = read_movie_run(video_toy.run, subject="01", space=model.space("01"), tr=1.0, onset=2.0)
    clips = model.clips(run)
    decoded = model.decode(run, clips)
    assert set(decoded) == {"tokens", "caption", "lowlevel", "flow", "motion_energy", "cut"}
    assert all(len(part) == len(clips) for part in decoded.values())
    assert 0 <= decoded["cut"].min() <= decoded["cut"].max() <= 1
    embedding = model.embedding(decoded)
    assert embedding.lowlevel.shape == (len(clips), 2, 8, 8)


def test_clips_meet_at_seams_unless_a_scene_begins_there() -> None:
    ramp = np.arange(0, 8, dtype=np.uint8).reshape(8, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    one, two = ramp + np.uint8(50), ramp + np.uint8(90)
    joined = [blended(one, None, two), blended(two, one, None)]
    jump = abs(int(joined[1][0, 0, 0, 0]) - int(joined[0][-1, 0, 0, 0]))
    assert jump <= 1
    np.testing.assert_array_equal(joined[0][:5], one[:5])  # the rest of the clip stays
    assert is_reset(np.array([0.0, 0.9]), np.array([0.0, 0.0]))
    assert is_reset(np.array([0.0, 0.1]), np.array([0.8, 0.0]))
    assert not is_reset(np.array([0.9, 0.1]), np.array([0.1, 0.9]))
    assert blended(one, None, None) is one


def test_mistakes_are_one_message_each(video_toy, tmp_path: Path) -> None:
    cases = [
        ({"tr": None}, InputError, "does not state"),
        ({"tr": 2.0}, InputError, "TR of 2 s"),
        ({"onset": 40.0}, InputError, "before the run ends"),
        ({"subject": "07"}, InputError, "does not know subject '07'"),
        ({"fps": 0.0}, UsageError, "frames per second"),
        ({"truth": str(tmp_path / "none.mp4")}, InputError, "no movie or folder"),
        ({"truth": str(video_toy.truth.parent)}, InputError, "nothing says which movie"),
        ({"onset": 14.0, "truth": str(video_toy.truth)}, InputError, "before the movie"),
        ({"model": str(tmp_path)}, InputError, "not a model folder"),
        ({"generator": "nothing"}, UsageError, "video generator"),
    ]
    for change, kind, message in cases:
        with pytest.raises(kind, match=message):
            reconstruct_video(config(video_toy, tmp_path / "x", **change))
    short = tmp_path / "short.npy"
    np.save(short, np.load(video_toy.run)[:5])
    with pytest.raises(InputError, match="goes on for at least"):
        reconstruct_video(config(video_toy, tmp_path / "x", input=str(short)))
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.load(video_toy.run)[:, :5])
    with pytest.raises(InputError):
        reconstruct_video(config(video_toy, tmp_path / "x", input=str(wrong)))


def test_a_model_whose_pictures_changed_is_refused(video_toy, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(video_toy.model, copy)
    write_text(copy / "encoder" / "config.json", "{}")
    with pytest.raises(InputError, match="changed or damaged"):
        load_video_model(str(copy))
    shutil.rmtree(copy)
    shutil.copytree(video_toy.model, copy)
    index = json.loads((copy / "model_index.json").read_text())
    index["latents_hash"] = "0" * 16
    write_text(copy / "model_index.json", json.dumps(index))
    with pytest.raises(InputError, match="has the latents"):
        load_video_model(str(copy))


def test_showings_of_a_movie_are_averaged(video_toy, tmp_path: Path) -> None:
    run = np.load(video_toy.run)
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number, onset in enumerate((2.0, 1.0, 2.0), start=1):
        noisy = run + 3 * run.std(axis=0) * draw.normal(size=run.shape).astype(np.float32)
        stem = f"sub-01_task-film_run-{number}"
        np.save(func / f"{stem}_bold.npy", noisy[round(2 - onset) :])
        table = pd.DataFrame({"onset": [onset], "duration": [12.0], "stim_file": ["film-3.mp4"]})
        table.to_csv(func / f"{stem}_events.tsv", sep="\t", index=False)
    first = func / "sub-01_task-film_run-1_bold.npy"
    options = {"input": str(first), "onset": None, "average": "stimulus"}
    output = tmp_path / "out"
    _, result = reconstruct_video(config(video_toy, output, truth=str(video_toy.truth), **options))
    assert result is not None
    assert len(result) == 6
    told = json.loads((output / "run.json").read_text())
    assert told["config"]["averaged"] == 3
    assert told["protocol"]["averaging_test"] == "mean of 3 showings"
    assert "mean of 3 showings" in (output / "log.txt").read_text()
    clean = np.load(video_toy.run)
    model = load_video_model(str(video_toy.model))
    errors = []
    for source, average in ((first, "none"), (first, "stimulus"), (func, "stimulus")):
        found, _ = read_shown(
            str(source), subject="01", space=model.space("01"), average=average, tr=1.0
        )
        rows = np.round(found.times + 2).astype(int)
        likeness = np.corrcoef(found.recording.data.ravel(), standardised(clean, 1.0)[rows].ravel())
        errors.append(1 - likeness[0, 1])
    assert errors[1] == errors[2] < 0.8 * errors[0]
