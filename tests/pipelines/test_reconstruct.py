"""What `reconstruct` promises about batches, orders, samples, truths and what it writes."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene import Reconstruction, Reconstructor
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.reconstruct import ReconstructConfig, reconstruct
from phosphene.seeds import item_seed
from phosphene.storage import write_json

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def loaded(model: Path) -> Reconstructor:
    return Reconstructor.from_pretrained(model)


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_same(one: Reconstruction, two: Reconstruction) -> None:
    np.testing.assert_array_equal(one.images, two.images)
    assert one.images.dtype == two.images.dtype == np.uint8
    assert one.embeddings.keys() == two.embeddings.keys()
    for name in one.embeddings:
        np.testing.assert_array_equal(one.embeddings[name], two.embeddings[name])
        assert one.embeddings[name].dtype == two.embeddings[name].dtype == np.float32
    tables = [result.trials.fillna("n/a") for result in (one, two)]
    pd.testing.assert_frame_equal(*tables, check_dtype=False, check_like=True)
    np.testing.assert_array_equal(one.seeds, two.seeds)
    assert one.provenance == two.provenance
    assert one.metrics == two.metrics
    assert (one.truth is None) == (two.truth is None)
    if one.truth is not None:
        np.testing.assert_array_equal(one.truth, two.truth)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_size_of_a_batch_does_not_matter(loaded: Reconstructor, toy: Any, size: int) -> None:
    whole = loaded.reconstruct(toy.file("test.npy"), subject="01", samples=2)
    parts = loaded.reconstruct(toy.file("test.npy"), subject="01", samples=2, batch_size=size)
    np.testing.assert_array_equal(whole.images, parts.images)
    np.testing.assert_array_equal(whole.seeds, parts.seeds)
    np.testing.assert_array_equal(whole.images[:, 0], toy.shown)


def test_permuted_rows_give_permuted_pictures(
    loaded: Reconstructor, toy: Any, tmp_path: Path
) -> None:
    rows, table = toy.voxels[toy.test_rows], toy.trials.iloc[toy.test_rows].reset_index(drop=True)
    order = np.random.default_rng(3).permutation(len(rows))
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "permuted.npy", rows[order])
    for trials, moved in ((None, None), (table, table.iloc[order])):
        one = loaded.reconstruct(tmp_path / "rows.npy", subject="01", trials=trials)
        two = loaded.reconstruct(tmp_path / "permuted.npy", subject="01", trials=moved)
        np.testing.assert_array_equal(one.images[order], two.images)
        np.testing.assert_array_equal(one.seeds[order], two.seeds)
        assert one.trials["stimulus_id"].iloc[order].tolist() == two.trials["stimulus_id"].tolist()


def test_a_subset_gives_the_same_pictures(loaded: Reconstructor, toy: Any, tmp_path: Path) -> None:
    rows, table = toy.voxels[toy.test_rows], toy.trials.iloc[toy.test_rows].reset_index(drop=True)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "some.npy", rows[[11, 2, 5]])
    for trials, some in ((None, None), (table, table.iloc[[11, 2, 5]])):
        whole = loaded.reconstruct(tmp_path / "rows.npy", subject="01", trials=trials)
        part = loaded.reconstruct(tmp_path / "some.npy", subject="01", trials=some)
        np.testing.assert_array_equal(whole.images[[11, 2, 5]], part.images)
        np.testing.assert_array_equal(whole.seeds[[11, 2, 5]], part.seeds)


def test_averaging_by_stimulus_is_averaging_by_hand(
    model: Path, toy: Any, decode: Any, tmp_path: Path
) -> None:
    rows = toy.voxels[toy.test_rows]
    noisy = rows + np.random.default_rng(2).normal(size=rows.shape).astype(np.float32)
    by_hand = ((noisy[:9].astype(np.float64) + noisy[9:]) / 2).astype(np.float32)
    np.save(tmp_path / "noisy.npy", noisy)
    np.save(tmp_path / "by_hand.npy", by_hand)
    decode(
        tmp_path / "noisy.npy", model, tmp_path / "one", "--average", "stimulus", "--trials",
        toy.file("test.tsv"), "--truth", toy.file("shown.npy"),
    ).succeeds()  # fmt: skip
    decode(tmp_path / "by_hand.npy", model, tmp_path / "two").succeeds()
    one, two = Reconstruction.load(tmp_path / "one"), Reconstruction.load(tmp_path / "two")
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.embeddings["pooled"], two.embeddings["pooled"])
    np.testing.assert_array_equal(one.truth, toy.shown[:9])  # given per trial, kept per item
    assert one.trials["stimulus_id"].tolist() == [f"scene-{n:03d}" for n in range(84, 93)]
    first = toy.trials.iloc[toy.test_rows[[0, 9]]]
    keys = [
        f"ses-02_run-{r}_trial-{t:06d}" for r, t in zip(first["run"], first["trial"], strict=True)
    ]
    assert one.trials["source_trials"].iloc[0].split() == keys
    assert one.trials["repetition"].tolist() == [2] * 9
    assert one.provenance.protocol.averaging_test == "mean of all repetitions"
    seeds = [item_seed(0, "01", name, 0) for name in one.trials["stimulus_id"]]
    assert one.seeds[:, 0].tolist() == seeds


def test_averaging_needs_to_know_the_stimuli(
    model: Path, toy: Any, decode: Any, tmp_path: Path
) -> None:
    done = decode(toy.file("test.npy"), model, tmp_path / "out", "--average", "stimulus")
    done.refuses(2, "not known for 18 of 18", "--trials")
    assert not (tmp_path / "out").exists()


def test_a_truth_by_identifier_is_that_by_order(
    model: Path, toy: Any, decode: Any, tmp_path: Path
) -> None:
    trials = ("--trials", toy.file("test.tsv"))
    for name, truth in (("one", "stimuli"), ("two", "shown.npy")):
        out = tmp_path / name
        decode(toy.file("test.npy"), model, out, *trials, "--truth", toy.file(truth)).succeeds()
    one, two = Reconstruction.load(tmp_path / "one"), Reconstruction.load(tmp_path / "two")
    np.testing.assert_array_equal(one.truth, two.truth)
    assert one.metrics == two.metrics
    assert one.metrics is not None
    assert (tmp_path / "one/metrics.tsv").read_text().splitlines()[0].split("\t") == [
        "metric", "value", "low", "high", "chance", "mean_picture", "n_items", "grey_picture",
        "p_value", "within_category",
    ]  # fmt: skip


def test_categories_of_the_trials_give_identification_within_them(
    model: Path, toy: Any, decode: Any, cli: Any, tmp_path: Path
) -> None:
    """In the scores of the run, and in an evaluation of it, without being told again."""
    table = toy.trials.iloc[toy.test_rows]
    last = table["stimulus_id"].str[-1].astype(int)
    table.assign(category=np.where(last % 2 == 0, "even", "odd")).to_csv(
        tmp_path / "kinds.tsv", sep="\t", index=False
    )
    trials = ("--trials", tmp_path / "kinds.tsv", "--truth", toy.file("shown.npy"))
    decode(toy.file("test.npy"), model, tmp_path / "out", *trials).succeeds()
    metrics = Reconstruction.load(tmp_path / "out").metrics
    assert metrics is not None
    within = {metric.id: metric.within_category for metric in metrics.metrics}
    found = within["two-way-pixels/strict-v1"]
    assert found is not None
    assert (found.value, found.n_items) == (1.0, len(table))
    assert within["pixcorr/strict-v1"] is None
    words = ("--metric", "two-way-pixels/strict-v1", "--output", tmp_path / "again")
    done = cli("evaluate", "--predictions", tmp_path / "out", *words).succeeds()
    assert "within category 1.000" in done.out


def test_identifiers_with_dots_are_no_file_names(
    model: Path, toy: Any, decode: Any, tmp_path: Path
) -> None:
    (tmp_path / "shown").mkdir()
    names = [f"v1.{row}" for row in range(18)]
    for name, pixels in zip(names, toy.shown, strict=True):
        Image.fromarray(pixels).save(tmp_path / "shown" / f"{name}.png")
    pd.DataFrame({"stimulus_id": names}).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    words = ("--trials", tmp_path / "t.tsv", "--truth", tmp_path / "shown")
    decode(toy.file("test.npy"), model, tmp_path / "out", *words).succeeds()
    np.testing.assert_array_equal(Reconstruction.load(tmp_path / "out").truth, toy.shown)
    (tmp_path / "shown" / "v1.7.png").unlink()
    decode(toy.file("test.npy"), model, tmp_path / "again", *words).refuses(3, "'v1.7'")


def pictures_in_page(page: str) -> list[Array]:
    """Decode every picture of a report."""
    parts = page.split("data:image/png;base64,")[1:]
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(part.split('"', 1)[0]))))
        for part in parts
    ]


def test_no_stimuli_keeps_shown_pictures_out(
    model: Path, toy: Any, decode: Any, cli: Any, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).normal(size=(18, 120)).astype(np.float32)
    np.save(tmp_path / "noisy.npy", toy.voxels[toy.test_rows] + noise)
    words = ("--trials", toy.file("test.tsv"), "--truth", toy.file("shown.npy"))
    decode(tmp_path / "noisy.npy", model, tmp_path / "with", *words).succeeds()
    decode(tmp_path / "noisy.npy", model, tmp_path / "without", *words, "--no-stimuli").succeeds()
    cli("report", tmp_path / "without").succeeds()

    def shows(folder: Path) -> bool:
        found = [np.asarray(Image.open(path).convert("RGB")) for path in folder.rglob("*.png")]
        found += pictures_in_page((folder / "report.html").read_text())
        assert len(found) >= 36
        return any(np.array_equal(a, b) for a in found for b in toy.shown if a.shape == b.shape)

    assert shows(tmp_path / "with")
    assert not shows(tmp_path / "without")
    assert not (tmp_path / "without" / "stimuli").exists()
    one, two = Reconstruction.load(tmp_path / "with"), Reconstruction.load(tmp_path / "without")
    assert two.truth is None
    assert one.metrics == two.metrics  # numbers are no pictures
    cli("report", tmp_path / "with", "--no-stimuli").succeeds()
    page = pictures_in_page((tmp_path / "with/report.html").read_text())
    assert len(page) == 18


def test_a_dry_run_writes_nothing_and_checks_everything(
    model: Path, toy: Any, decode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = content(model)
    words = ("--truth", toy.file("shown.npy"), "--seed", 4, "--dry-run")
    done = decode(toy.file("test.npy"), model, "out", *words).succeeds()
    assert list(tmp_path.iterdir()) == []
    assert content(model) == before
    assert "seed: 4" in done.out
    decode(toy.file("all.npy"), model, "out", *words).refuses(3, "18 pictures", "102")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    done = decode(toy.file("test.npy"), model, "taken", *words)
    done.refuses(2, "taken", "not empty", "choose another --output")


def test_two_samples(model: Path, toy: Any, decode: Any, tmp_path: Path) -> None:
    words = ("--samples", 2, "--truth", toy.file("shown.npy"))
    decode(toy.file("test.npy"), model, tmp_path / "out", *words).succeeds()
    result = Reconstruction.load(tmp_path / "out")
    assert result.images.shape == (18, 2, 8, 8, 3)
    assert result.seeds.shape == (18, 2)
    assert len(np.unique(result.seeds)) == 18  # equal rows are equal items, whatever their trial
    rows = pd.read_csv(tmp_path / "out/trials.tsv", sep="\t")
    assert rows[["item", "sample"]].to_numpy().tolist() == [
        [i, s] for i in range(18) for s in (0, 1)
    ]
    sidecar = json.loads((tmp_path / "out" / rows["file"][5]).with_suffix(".json").read_text())
    assert (sidecar["item"], sidecar["sample"], sidecar["item_seed"]) == (2, 1, rows["seed"][5])


@pytest.fixture
def rich(toy: Any, tmp_path: Path) -> Path:
    """A trials table with columns of the laboratory's own, awkward ones among them."""
    table = toy.trials.iloc[toy.test_rows].reset_index(drop=True)
    rng = np.random.default_rng(8)
    table["onset"] = rng.uniform(0, 500, len(table)) / 3
    table["condition"] = [f"{row:03d}" for row in range(len(table))]
    table["response"] = [None if row % 3 else "seen" for row in range(len(table))]
    table["item"] = [f"mine-{row}" for row in range(len(table))]
    table["file"] = "../../secret.png"
    table["truth"] = "yes"
    table["seed"] = -1
    table.to_csv(tmp_path / "rich.tsv", sep="\t", index=False)
    return tmp_path / "rich.tsv"


def test_an_output_folder_gives_back_the_result(
    model: Path, toy: Any, rich: Path, tmp_path: Path
) -> None:
    config = ReconstructConfig(
        subject="01", input=toy.file("test.npy"), model=str(model), output=str(tmp_path / "out"),
        trials=str(rich), truth=toy.file("stimuli"), samples=2,
    )  # fmt: skip
    folder, result = reconstruct(config)
    assert result is not None
    assert_same(Reconstruction.load(folder), result)
    result = Reconstruction.load(folder)
    for name in ("second", "third"):
        result.save(tmp_path / name)
        again = Reconstruction.load(tmp_path / name)
        assert_same(again, result)
        result = again
    assert content(tmp_path / "second") == content(tmp_path / "third")
    own = {"config.yaml", "log.txt"}  # of the command alone
    first = {name: data for name, data in content(folder).items() if name not in own}
    second = {n: d for n, d in content(tmp_path / "second").items() if n not in own}
    assert first == second


def test_columns_of_a_table_do_not_displace_ours(
    model: Path, toy: Any, rich: Path, decode: Any, tmp_path: Path
) -> None:
    decode(toy.file("test.npy"), model, tmp_path / "out", "--trials", rich).succeeds()
    rows = pd.read_csv(tmp_path / "out/trials.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert rows["item"].tolist() == [str(item) for item in range(18)]
    assert rows["file"].str.startswith("sub-01/sub-01_item-").all()
    assert set(rows["truth"]) == {"n/a"}
    assert rows["condition"].tolist() == [f"{row:03d}" for row in range(18)]
    assert rows["trial_item"].tolist() == [f"mine-{row}" for row in range(18)]
    Reconstruction.load(tmp_path / "out")


def test_the_library_and_the_command_agree(
    loaded: Reconstructor, model: Path, toy: Any, decode: Any, tmp_path: Path
) -> None:
    trials = ("--trials", toy.file("test.tsv"), "--seed", 7)
    decode(toy.file("test.npy"), model, tmp_path / "out", *trials).succeeds()
    by_command = Reconstruction.load(tmp_path / "out")
    by_hand = loaded.reconstruct(
        toy.file("test.npy"), subject="sub-01", seed=7, trials=toy.file("test.tsv")
    )
    np.testing.assert_array_equal(by_command.images, by_hand.images)
    np.testing.assert_array_equal(by_command.seeds, by_hand.seeds)
    assert by_command.provenance.input_hash == by_hand.provenance.input_hash
    assert (
        loaded.reconstruct(
            toy.file("test.npy"), subject="01", seed=8, trials=toy.file("test.tsv")
        ).seeds.tolist()
        != by_hand.seeds.tolist()
    )


def test_wrong_use_of_the_library(loaded: Reconstructor, toy: Any, model: Path) -> None:
    recording = loaded.read(toy.file("test.npy"), subject="01")
    with pytest.raises(UsageError, match="subject 01 as subject '02'"):
        loaded.reconstruct(recording, subject="02")
    with pytest.raises(UsageError, match="at least one"):
        loaded.reconstruct(recording, subject="01", samples=0)
    with pytest.raises(UsageError, match="none or stimulus"):
        loaded.reconstruct(recording, subject="01", average="session")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="target-decoder"):
        Reconstructor.from_pretrained(model, generator="target-decode")
    with pytest.raises(UsageError, match="`device`"):
        Reconstructor.from_pretrained(model, device="tpu")


def test_saving_a_model_again_keeps_it(loaded: Reconstructor, toy: Any, tmp_path: Path) -> None:
    loaded.save_pretrained(tmp_path / "copy")
    again = Reconstructor.from_pretrained(f"local-dir:{tmp_path / 'copy'}")
    one = loaded.reconstruct(toy.file("test.npy"), subject="01")
    two = again.reconstruct(toy.file("test.npy"), subject="01")
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.embeddings["pooled"], two.embeddings["pooled"])
    assert one.provenance.protocol == two.provenance.protocol


@pytest.fixture
def finished(model: Path, toy: Any, decode: Any, tmp_path: Path) -> Path:
    decode(toy.file("test.npy"), model, tmp_path / "out").succeeds()
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["run.json", "trials.tsv", "embeddings.npz"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_damaged_outputs_are_told(finished: Path, name: str, damage: str, cli: Any) -> None:
    path = finished / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"\x00\xff{}" * 50)
    page = (finished / "report.html").read_bytes()
    cli("report", finished).refuses(3, str(finished))
    assert (finished / "report.html").read_bytes() == page


def test_damaged_pictures_and_tables_are_told(finished: Path) -> None:
    picture = next(finished.glob("sub-*/*.png"))
    data = picture.read_bytes()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(picture)
    with pytest.raises(InputError, match="out"):
        Reconstruction.load(finished)
    picture.write_bytes(data[:40])
    with pytest.raises(InputError, match="not a readable picture"):
        Reconstruction.load(finished)
    picture.write_bytes(data)
    lines = (finished / "trials.tsv").read_text().splitlines(keepends=True)
    (finished / "trials.tsv").write_text("".join(lines[:-2]))
    with pytest.raises(InputError, match="16 rows"):
        Reconstruction.load(finished)
    (finished / "trials.tsv").write_text("".join(lines))
    run = json.loads((finished / "run.json").read_text())
    write_json(finished / "run.json", run | {"schema_version": 9})
    with pytest.raises(InputError, match="version 9"):
        Reconstruction.load(finished)
