"""``phosphene evaluate`` from folders and from end to end, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.pipelines.evaluation.results import load_evaluation
from phosphene.schemas import EvaluationFile, MetricsFile

N = 10
GOLDEN = Path(__file__).parents[1] / "golden" / "version-1"
PIXCORR, TWO_WAY = "pixcorr/strict-v1", "two-way-pixels/strict-v1"
TOP_1 = "brain-to-image-top1/strict-v1"
FEW = ("--metric", PIXCORR, "--metric", TWO_WAY)
Folders = tuple[Path, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Predictions that are noisy copies, and what was shown."""
    root = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(4)
    for name in ("shown", "made"):
        (root / name).mkdir()
    for number in range(N):
        shown = rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
        made = (shown / 2 + rng.integers(0, 128, size=shown.shape)).astype(np.uint8)
        Image.fromarray(shown).save(root / "shown" / f"scene-{number}.png")
        Image.fromarray(made).save(root / "made" / f"scene-{number}.png")
    return root / "made", root / "shown"


def score(cli: Any, output: Path, *arguments: object) -> EvaluationFile:
    done = cli("evaluate", *arguments, "--output", output).succeeds()
    assert done.out.strip().splitlines()[-1] == f"evaluation: {output / 'evaluation.json'}"
    return load_evaluation(output)


def by_name(result: EvaluationFile) -> dict[str, Any]:
    return {metric.id: metric for metric in result.metrics}


def test_a_folder_of_any_program(folders: Folders, tmp_path: Path, cli: Any) -> None:
    made, shown = folders
    result = score(
        cli, tmp_path / "out", "--predictions", made, "--truth", shown, "--suite", "quick"
    )
    assert [item.key for item in result.items] == [f"scene-{number}" for number in range(N)]
    assert result.protocol.training is None
    assert result.n_seen_in_training is None
    for metric in result.metrics:
        assert metric.controls["grey_picture"] is not None
        assert metric.permuted.p_value is not None
        assert metric.permuted.p_value < 0.05
        assert metric.spec["id"] == metric.id
        assert len(metric.per_item) == N
    assert len(result.metrics) == 6
    assert result.absent == []
    assert {one.name for one in result.controls if not one.reason_absent} == {
        "grey_picture", "permuted",
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "out/metrics.tsv", sep="\t")
    assert list(table)[:7] == [
        "metric", "value", "low", "high", "chance", "mean_picture", "n_items",
    ]  # fmt: skip
    assert {"grey_picture", "permuted", "p_value", "within_category"} <= set(table)
    items = pd.read_csv(tmp_path / "out/items.tsv", sep="\t")
    assert items[PIXCORR].mean() == pytest.approx(by_name(result)[PIXCORR].value, abs=1e-5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "evaluation.json", "items.tsv", "metrics.tsv",
    ]  # fmt: skip


def test_an_output_of_reconstruct_scores_what_it_says_itself(tmp_path: Path, cli: Any) -> None:
    result = score(cli, tmp_path / "out", "--predictions", GOLDEN / "output")
    stored = MetricsFile.load(GOLDEN / "output/metrics.json")
    found = by_name(result)
    for metric in stored.metrics:
        assert found[metric.id].value == pytest.approx(metric.value, abs=1e-6)
        assert found[metric.id].interval == pytest.approx(metric.interval, abs=1e-6)
        assert found[metric.id].controls["grey_picture"] == pytest.approx(
            metric.baselines["grey_picture"], abs=1e-6
        )
    assert result.protocol.averaging == "single trials"
    assert result.protocol.n_samples == 2
    assert result.n_seen_in_training == 0
    assert result.protocol.subjects == ["01"]


def test_categories_give_identification_within_them(
    folders: Folders, tmp_path: Path, cli: Any
) -> None:
    made, shown = folders
    rows = [f"scene-{number}.png\t{'face' if number % 2 else 'house'}" for number in range(N)]
    (tmp_path / "kinds.tsv").write_text("\n".join(["picture\tcategory", *rows]) + "\n")
    more = ("--category", tmp_path / "kinds.tsv", "--metric", TWO_WAY)
    result = score(cli, tmp_path / "out", "--predictions", made, "--truth", shown, *more)
    within = by_name(result)[TWO_WAY].within_category
    assert within.value == 1.0
    assert within.n_items == N
    assert within.chance == 0.5
    assert result.items[1].category == "face"
    (tmp_path / "kinds.tsv").write_text("\n".join(["picture\tcategory", *rows[1:]]) + "\n")
    cli(
        "evaluate", "--predictions", made, "--truth", shown, *more, "--output", tmp_path / "two"
    ).refuses(3, "no category for 1 of 10 shown pictures, 'scene-0'")


def test_a_dataset_from_end_to_end(dataset: Path, model: Path, tmp_path: Path, cli: Any) -> None:
    result = score(
        cli, tmp_path / "out", "--model", model, "--dataset", dataset, *FEW, "--metric", TOP_1
    )
    assert result.protocol.subjects == ["01"]
    assert result.protocol.averaging == "mean of all repetitions"
    assert result.n_seen_in_training == 0
    metric = by_name(result)[PIXCORR]
    assert metric.value > 0.999  # the planted truth
    controls = metric.controls
    assert set(controls) == {
        "grey_picture", "mean_picture", "nearest_training", "noise_brain", "shuffled_brain",
        "truth_through_generator",
    }  # fmt: skip
    found = by_name(result)[TOP_1]
    assert found.value == 1.0
    assert found.chance == pytest.approx(1 / 9)
    assert found.controls["grey_picture"] == pytest.approx(1 / 9)  # equal for all: a guess
    assert found.controls["shuffled_brain"] < 0.5
    assert found.permuted.rule == "pictures exchanged within runs"
    assert found.permuted.p_value < 0.03  # three pictures in each of three runs: 216 orders
    assert controls["truth_through_generator"] > 0.999
    assert abs(controls["shuffled_brain"]) < 0.2
    assert abs(controls["noise_brain"]) < 0.2
    assert 0 < controls["nearest_training"] < 0.5
    assert [point.n_repetitions for point in result.repetition_curve] == [1, 2]
    assert result.audit is not None
    assert result.audit["n_shared_stimuli"] == 0
    assert result.audit["held_out"].startswith("training saw no test picture")
    assert (tmp_path / "out/predictions/trials.tsv").is_file()
    for item in result.items:
        assert (tmp_path / "out" / result.predictions / item.files[0]).is_file()
    again = score(
        cli, tmp_path / "again", "--predictions", tmp_path / "out/predictions",
        "--truth", dataset, "--batch-size", 3, *FEW, "--metric", TOP_1,
    )  # fmt: skip
    (absent,) = again.absent
    assert absent.id == TOP_1
    assert "--model" in absent.reason
    assert by_name(again)[PIXCORR].value == pytest.approx(metric.value, abs=1e-9)
    assert again.protocol.pictures_hash == result.protocol.pictures_hash


def test_an_interrupted_run_goes_on(
    dataset: Path, model: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the fourth picture: three are kept as they are, and the result is the same."""
    from phosphene.pipelines.evaluation import end_to_end

    more = ("--model", model, "--dataset", dataset, "--metric", PIXCORR, "--batch-size", 1)
    whole = score(cli, tmp_path / "whole", *more)
    write, written = end_to_end.write_picture, list[Path]()

    def killed(path: Path, pixels: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, pixels)

    monkeypatch.setattr(end_to_end, "write_picture", killed)
    output = tmp_path / "out"
    assert cli("evaluate", *more, "--output", output).code != 0
    assert not (output / "evaluation.json").exists()
    assert len(list((output / ".partial").rglob("*.png"))) == 3
    before = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(end_to_end, "write_picture", write)
    cli("evaluate", *more, "--output", output).refuses(2, "interrupted work", "--resume")
    cli("evaluate", *more, "--seed", 5, "--resume", "--output", output).refuses(
        2, "other settings: seed was 0"
    )
    stamps: dict[Path, int] = {}

    def kept(path: Path, pixels: Any) -> None:
        stamps.update({one: one.stat().st_mtime_ns for one in before if one.exists()})
        write(path, pixels)

    monkeypatch.setattr(end_to_end, "write_picture", kept)
    again = score(cli, output, *more, "--resume")
    assert stamps == before
    assert again.metrics == whole.metrics
    assert sorted(path.name for path in output.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
    cli("evaluate", *more, "--output", output, "--resume").succeeds()  # complete already
    folder = ("--predictions", output / "predictions", "--truth", dataset)
    cli("evaluate", *folder, "--resume", "--output", tmp_path / "n").refuses(2, "without --model")


def test_a_score_on_training_pictures_says_so(
    dataset: Path, model: Path, tmp_path: Path, cli: Any
) -> None:
    done = cli(
        "evaluate", "--model", model, "--dataset", dataset, "--split", "train",
        "--metric", PIXCORR, "--output", tmp_path / "out",
    ).succeeds()  # fmt: skip
    words = "84 of 84 items show pictures that the model was trained on"
    assert f"careful: {words}" in done.out
    assert words in (tmp_path / "out/metrics.tsv").read_text()
    assert load_evaluation(tmp_path / "out").n_seen_in_training == 84


def test_a_model_that_saw_the_test_is_refused_or_says_so(
    dataset: Path, model: Path, tmp_path: Path, cli: Any
) -> None:
    """The trials it was trained on are called test trials afterwards."""
    root = Path(shutil.copytree(dataset, tmp_path / "data"))
    trials = pd.read_parquet(root / "trials.parquet")
    trials["split"] = trials["split"].map({"train": "test", "test": "train"})
    trials.to_parquet(root / "trials.parquet")
    more = ("--model", model, "--dataset", root, "--metric", PIXCORR)
    cli("evaluate", *more, "--output", tmp_path / "no").refuses(
        3, "training saw 84 pictures of the test split", "--allow-seen"
    )
    assert not (tmp_path / "no").exists()
    done = cli("evaluate", *more, "--allow-seen", "--output", tmp_path / "out").succeeds()
    assert "careful: 84 of 84 items show pictures that the model was trained on" in done.out
    result = load_evaluation(tmp_path / "out")
    assert "not refused" in result.audit["held_out"]


def test_compare_and_leaderboard(folders: Folders, tmp_path: Path, cli: Any) -> None:
    made, shown = folders
    truth = ("--truth", shown, "--metric", PIXCORR)
    score(cli, tmp_path / "good", "--predictions", shown, *truth, "--name", "good")
    score(cli, tmp_path / "bad", "--predictions", made, *truth)
    done = cli(
        "evaluate compare", tmp_path / "good", tmp_path / "bad", "--output", tmp_path / "c.tsv"
    ).succeeds()
    assert "better: first" in done.out
    assert done.out.strip().splitlines()[-1] == f"comparison: {tmp_path / 'c.tsv'}"
    assert len((tmp_path / "c.tsv").read_text().splitlines()) == 2
    done = cli(
        "evaluate leaderboard", tmp_path / "good", tmp_path / "bad/evaluation.json",
        "--output", tmp_path / "table.md",
    ).succeeds()  # fmt: skip
    assert done.out.strip().splitlines()[-1] == f"leaderboard: {tmp_path / 'table.md'}"
    assert "| good | **1.000** [1.000, 1.000] |" in (tmp_path / "table.md").read_text()
    part = shutil.copytree(made, tmp_path / "part")
    (part / "scene-3.png").unlink()
    refused = ("--predictions", part, *truth, "--output", tmp_path / "some")
    cli("evaluate", *refused).refuses(3, "1 of 10 shown pictures", "scene-3", "--allow-missing")
    done = cli("evaluate", *refused, "--allow-missing").succeeds()
    assert "careful: 1 shown pictures have no prediction" in done.out
    boards = (tmp_path / "good", tmp_path / "some", "--strict")
    cli("evaluate leaderboard", *boards).refuses(3, "the number of missing predictions is 0 and 1")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, ["nothing to evaluate"]),
        (["--predictions", "x", "--model", "y"], 2, ["both given"]),
        (["--model", "y"], 2, ["without a dataset"]),
        (["--predictions", "x", "--suite", "none"], 2, ["`suite` is 'none'"]),
        (["--predictions", "x", "--metric", "pixcor/strict-v1"], 2, ["pixcorr/strict-v1"]),
        (["--predictions", "x", "--batch-size", "0"], 2, ["below 1"]),
        (["--predictions", "x"], 3, ["there is no folder of predictions x"]),
        (["--predictions", "x", "--truth", "y.npy"], 3, ["nothing is matched by order"]),
    ],
)
def test_wrong_use_is_one_message(
    arguments: list[str], code: int, words: list[str], tmp_path: Path, cli: Any
) -> None:
    cli("evaluate", *arguments, "--output", tmp_path / "out").refuses(code, *words)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_truth_or_with_results_is_refused(
    folders: Folders, tmp_path: Path, cli: Any
) -> None:
    made, shown = folders
    cli("evaluate", "--predictions", made, "--output", tmp_path / "out").refuses(
        2, "does not say what was shown for 10 of 10 items"
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    cli("evaluate", "--predictions", made, "--truth", shown, "--output", tmp_path / "out").refuses(
        2, "is not an empty folder"
    )
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_clips(tmp_path: Path, cli: Any) -> None:
    rng = np.random.default_rng(0)
    for name in ("made", "shown"):
        (tmp_path / name).mkdir()
    for number in range(4):
        # A grey square on its way: few levels, so that a palette holds them exactly.
        frames = np.full((3, 24, 24, 3), 60, dtype=np.uint8)
        for time, frame in enumerate(frames):
            frame[4 * number : 4 * number + 8, 5 * time : 5 * time + 8] = 200
        noisy = np.where(rng.random(frames.shape[:3]) < 0.1, 128, frames[..., 0]).astype(np.uint8)
        for name, clip in (("shown", frames[..., 0]), ("made", noisy)):
            first, *others = (Image.fromarray(frame) for frame in clip)
            path = tmp_path / name / f"clip-{number}.gif"
            first.save(path, save_all=True, append_images=others)
    more = ("--predictions", tmp_path / "made", "--truth", tmp_path / "shown")
    psnr = "video-psnr/strict-v1"
    result = score(cli, tmp_path / "out", *more, "--metric", psnr, "--set", "n_permutations=50")
    (metric,) = result.metrics
    assert set(metric.controls) == {"grey_picture", "still_picture", "still_truth"}
    assert metric.value > metric.controls["still_picture"] > metric.controls["grey_picture"]
    assert metric.permuted.mean < metric.value
    assert [item.key for item in result.items] == [f"clip-{number}" for number in range(4)]
    assert "3 x 24 x 24" in result.protocol.size_rule
    cli(
        "evaluate", *more, "--metric", psnr, "--metric", PIXCORR, "--output", tmp_path / "two"
    ).refuses(2, "metrics of clips together with metrics of pictures")
