"""Writes the golden folders; run it only for a new version of a schema, never to mend a test.

``python tests/golden/write.py FOLDER`` writes a canonical dataset, a model, an output and its
evaluation, each into its own folder. They are small, made up, and drawn from a seed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.prepare import write_subject
from phosphene.data.readers import read_recording
from phosphene.pipelines.evaluation.audit import audit_dataset
from phosphene.pipelines.evaluation.evaluate import EvaluateConfig, evaluate
from phosphene.pipelines.reconstruct import ReconstructConfig, reconstruct
from phosphene.pipelines.retrieval.building import IndexConfig, build_index
from phosphene.pipelines.training.encoder import EncoderConfig, train_encoder

SIDE, N_TRAIN, N_TEST, N_VOXELS = 7, 12, 3, 20


def write(root: Path) -> None:
    rng = np.random.default_rng(2026)
    pictures = rng.integers(0, 256, size=(N_TRAIN + N_TEST, SIDE, SIDE), dtype=np.uint8)
    pixels = pictures.reshape(len(pictures), -1) / 255
    voxels = (pixels @ rng.normal(size=(SIDE * SIDE, N_VOXELS))).astype(np.float32)
    trials = pd.DataFrame(
        {
            "session": "01",
            "run": ["01"] * N_TRAIN + ["02"] * N_TEST,
            "stimulus_id": [f"golden-{number:02d}" for number in range(len(pictures))],
            "split": ["train"] * N_TRAIN + ["test"] * N_TEST,
        }
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "betas.npy", voxels)
        np.save(folder / "test.npy", voxels[N_TRAIN:])
        np.save(folder / "pictures.npy", pictures)
        np.save(folder / "shown.npy", pictures[N_TRAIN:])
        trials.iloc[N_TRAIN:].to_csv(folder / "test.tsv", sep="\t", index=False)
        recording = read_recording(folder / "betas.npy", subject="01", trials=trials)
        write_subject(
            root / "dataset",
            recording,
            folder / "pictures.npy",
            name="golden",
            licence="CC0-1.0",
            source="betas.npy",
        )
        # Trained on a copy: caches of targets are no part of a dataset that is handed on.
        write_subject(folder / "golden", recording, folder / "pictures.npy", name="golden")
        train_encoder(
            EncoderConfig(
                dataset=str(folder / "golden"),
                subject="01",
                target=f"pixels:{SIDE}x1",
                output=str(root / "model"),
            )
        )
        reconstruct(
            ReconstructConfig(
                subject="01",
                input=str(folder / "test.npy"),
                model=str(root / "model"),
                output=str(root / "output"),
                truth=str(folder / "shown.npy"),
                trials=str(folder / "test.tsv"),
                samples=2,
                seed=3,
            )
        )
    evaluate(
        EvaluateConfig(predictions=str(root / "output"), output=str(root / "evaluation"), seed=3)
    )
    stored = ("output/config.yaml", "output/run.json", "output/report.html")
    for path in (root / name for name in (*stored, "evaluation/evaluation.json")):
        text = path.read_text().replace(f"{folder}/", "").replace(f"{root}/", "")
        path.write_text(text)  # paths of the machine it was written on say nothing
    write_index(root / "index")
    (root / "audit").mkdir()
    audit_dataset(CanonicalDataset.open(root / "dataset")).file().save(root / "audit/audit.json")


def write_index(folder: Path) -> None:
    """Write a small index of ready embeddings."""
    values = np.random.default_rng(2027).normal(size=(12, 6)).astype(np.float32)
    names = [f"golden-{number:02d}" for number in range(len(values))]
    table = pd.DataFrame({"id": names, "caption": "a picture", "embedding": list(values)})
    with tempfile.TemporaryDirectory() as name:
        table.to_parquet(Path(name) / "golden.parquet")
        source = str(Path(name) / "golden.parquet")
        build_index(IndexConfig(pictures=source, target="given:golden", output=str(folder)))
        index = folder / "index.json"
        index.write_text(index.read_text().replace(f"{Path(name).resolve()}/", ""))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
