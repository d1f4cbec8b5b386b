"""Folders that earlier versions wrote: every later one has to read them, with this content.

Nothing here is made anew when a test fails; see ``write.py``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene import Index, Reconstruction, Reconstructor
from phosphene.data.canonical import CanonicalDataset
from phosphene.pipelines.evaluation.results import load_evaluation
from phosphene.pipelines.training.materials import cached_targets, load_target

GOLDEN = Path(__file__).parent / "version-1"
DATA_SUM, DATA_VALUE = 65.84936909005046, 0.3885333836078644
NEXT = 0.525540  # cosine of the fourth embedding and its nearest other
METRICS = {
    "pixcorr/strict-v1": 0.19056265696622735,
    "ssim/uniform7-v1": 0.12594840892421574,
    "mse/unit-range-v1": 0.0969684605868491,
    "two-way-pixels/strict-v1": 1.0,
}
EVALUATION_P = 0.14185814185814186
EVALUATION_SCORES = [
    0.2222523308471495,
    0.10492397177065495,
    0.2445116682808776,
]


@pytest.fixture
def shown() -> np.ndarray[Any, Any]:
    """The fifteen pictures as ``write.py`` draws them."""
    return np.random.default_rng(2026).integers(0, 256, size=(15, 7, 7), dtype=np.uint8)


def test_the_folders_are_small() -> None:
    for folder in ("dataset", "model", "output", "evaluation"):
        size = sum(path.stat().st_size for path in (GOLDEN / folder).rglob("*") if path.is_file())
        assert 0 < size < 60_000


def test_the_dataset(shown: np.ndarray[Any, Any]) -> None:
    dataset = CanonicalDataset.open(GOLDEN / "dataset")
    assert dataset.file.name == "golden"
    assert dataset.file.licence == "CC0-1.0"
    assert dataset.file.stimulus_kind == "pictures"
    recording = dataset.recording("01")
    assert recording.data.shape == (15, 20)
    assert recording.data.dtype == np.float32
    assert float(recording.data.astype(np.float64).sum()) == pytest.approx(DATA_SUM, rel=1e-6)
    assert recording.data[3, 4] == pytest.approx(DATA_VALUE, rel=1e-6)
    assert recording.space is not None
    assert recording.space.n_voxels == 20
    assert recording.trials["split"].tolist() == ["train"] * 12 + ["test"] * 3
    assert recording.trials["stimulus_id"].tolist() == [f"golden-{n:02d}" for n in range(15)]
    assert recording.trials["run"].tolist() == ["01"] * 12 + ["02"] * 3
    pictures = dataset.pictures(recording.trials["stimulus_id"].tolist())
    np.testing.assert_array_equal(np.stack(pictures)[..., 0], shown)


def test_the_dataset_can_be_trained_on(tmp_path: Path, cli: Any) -> None:
    root = Path(shutil.copytree(GOLDEN / "dataset", tmp_path / "dataset"))
    cli(
        "train encoder", "--dataset", root, "--subject", "01", "--target", "pixels:7x1",
        "--output", tmp_path / "model",
    ).succeeds()  # fmt: skip
    dataset = CanonicalDataset.open(root)
    values = cached_targets(dataset, load_target("pixels:7x1"), ["golden-02"])
    assert values.shape == (1, 49)


def test_the_model(tmp_path: Path) -> None:
    model = Reconstructor.from_pretrained(GOLDEN / "model")
    assert model.subjects == ["01"]
    assert model.parts.target.spec.shape == (49,)
    assert model.parts.protocol.train_stimulus_ids == [f"golden-{n:02d}" for n in range(12)]
    assert model.parts.baselines["mean_picture"].shape == (1, 7, 7)
    test = CanonicalDataset.open(GOLDEN / "dataset").recording("01", splits=["test"])
    result = model.reconstruct(test, subject="01", seed=3, samples=2)
    stored = Reconstruction.load(GOLDEN / "output")
    # Another machine's linear algebra rounds in another way, by a few units of the last place.
    np.testing.assert_allclose(
        result.embeddings["pooled"], stored.embeddings["pooled"], rtol=1e-4, atol=1e-5
    )
    assert np.abs(result.images.astype(int) - stored.images).max() <= 1


def test_the_output(shown: np.ndarray[Any, Any], tmp_path: Path) -> None:
    result = Reconstruction.load(GOLDEN / "output")
    assert result.images.shape == (3, 2, 7, 7, 3)
    assert result.embeddings["pooled"].shape == (3, 49)
    assert result.embeddings["pooled"].dtype == np.float32
    assert result.trials["stimulus_id"].tolist() == ["golden-12", "golden-13", "golden-14"]
    assert result.trials["source_trials"].tolist()[2] == "ses-01_run-02_trial-000002"
    assert result.seeds[0].tolist() == [7213630983900993165, 3676988094877278190]
    assert result.truth is not None
    np.testing.assert_array_equal(result.truth, np.repeat(shown[12:, ..., None], 3, axis=-1))
    assert result.metrics is not None
    values = {metric.id: metric.value for metric in result.metrics.metrics}
    assert values == pytest.approx(METRICS, abs=1e-9)
    assert result.provenance.versions["phosphene"] == "0.1.0"
    assert result.provenance.config["samples"] == 2
    page = result.to_html()
    assert page.count("data:image/png;base64,") == 9
    saved = Reconstruction.load(result.save(tmp_path / "again"))
    np.testing.assert_array_equal(saved.images, result.images)
    assert saved.metrics == result.metrics
    assert saved.provenance == result.provenance


def test_the_evaluation() -> None:
    result = load_evaluation(GOLDEN / "evaluation")
    values = {metric.id: metric.value for metric in result.metrics}
    assert {name: values[name] for name in METRICS} == pytest.approx(METRICS, abs=1e-6)
    assert [item.key for item in result.items] == ["golden-12", "golden-13", "golden-14"]
    assert [len(item.files) for item in result.items] == [2, 2, 2]
    assert result.protocol.split == "stored"
    assert result.protocol.training is not None
    assert result.protocol.training.train_stimulus_ids[0] == "golden-00"
    correlation = result.metrics[0]
    assert correlation.spec["kind"] == "picture"
    assert correlation.controls["grey_picture"] == 0.0
    assert correlation.permuted.n_permutations == 1000
    assert correlation.permuted.p_value == pytest.approx(EVALUATION_P, abs=1e-9)
    assert correlation.per_item == pytest.approx(EVALUATION_SCORES, abs=1e-9)


def test_pictures_and_sidecars_of_the_output() -> None:
    pictures = sorted((GOLDEN / "output/sub-01").glob("*_desc-recon_image.png"))
    assert len(pictures) == 6
    for path in pictures:
        assert np.asarray(Image.open(path)).shape == (7, 7, 3)
        sidecar = json.loads(path.with_suffix(".json").read_text())
        stem = f"sub-01_item-{sidecar['item']:06d}_sample-{sidecar['sample']:02d}_desc-recon_image"
        assert path.stem == stem
        assert sidecar["schema"] == "image"
        assert sidecar["seed"] == 3


def test_the_index() -> None:
    index = Index.open(GOLDEN / "index")
    assert (len(index), index.file.kind, index.file.metric) == (12, "flat", "cosine")
    assert index.space.target.name == "golden"
    values = np.random.default_rng(2027).normal(size=(12, 6)).astype(np.float32)
    found = index.search(values, 2)
    assert [one[0] for one in found.ids] == [f"golden-{number:02d}" for number in range(12)]
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-3)
    assert found.scores[3, 1] == pytest.approx(NEXT, abs=1e-4)
    assert found.table()["caption"].unique().tolist() == ["a picture"]
    assert index.verify()["found"].tolist() == ["2", "12", "unique", "1.000"]


def test_what_the_writer_writes_has_the_same_files(tmp_path: Path) -> None:
    """A new file, or one that is gone, is a change of the format: it needs a new version."""
    import runpy

    runpy.run_path(str(Path(__file__).parent / "write.py"))["write"](tmp_path)

    def names(root: Path) -> list[str]:
        files = (path for path in root.rglob("*") if path.name != "grid.png")  # read by no program
        return sorted(path.relative_to(root).as_posix() for path in files)

    assert names(tmp_path) == names(GOLDEN)
    for path in (p for p in GOLDEN.rglob("*.json") if "schema" in json.loads(p.read_text())):
        now = json.loads((tmp_path / path.relative_to(GOLDEN)).read_text())
        before = json.loads(path.read_text())
        assert now["schema_version"] == before["schema_version"]
        assert list(now) == list(before), path.name
