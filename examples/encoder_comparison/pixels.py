"""Pictures of the predictions that were kept, and how they correlate with what was shown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.pipelines.metrics import pixel_correlation
from phosphene.pipelines.model_folder import load_model
from phosphene.types import BrainEmbedding


def render_kept(options: argparse.Namespace) -> None:
    """Write PixCorr of rendered predictions, and of the same with another picture.

    Tokens go to the generator as they are, without a prior or a low-level start.
    """
    parts = load_model(options.model)
    dataset = CanonicalDataset.open(options.dataset)
    with Path(options.output).open("a", encoding="utf-8") as out:
        for path in sorted(Path(options.kept).glob(options.only)):
            with np.load(path, allow_pickle=False) as stored:
                values, names = stored["values"], stored["names"].tolist()
            chosen = list(range(0, len(names), max(1, len(names) // options.pictures)))
            chosen = chosen[: options.pictures]
            seeds = [torch.Generator().manual_seed(row) for row in chosen]
            made = parts.generator.generate(
                BrainEmbedding(tokens=torch.from_numpy(values[chosen])),
                generators=seeds, num_inference_steps=options.steps,
            )  # fmt: skip
            truth = np.stack(list(dataset.pictures([names[row] for row in chosen])))
            own = pixel_correlation(np.asarray(made), truth).tolist()
            other = pixel_correlation(np.asarray(made), np.roll(truth, 1, 0)).tolist()
            line = {"file": path.stem, "pixcorr": own, "another picture": other}
            out.write(json.dumps(line) + "\n")
            print(path.stem, f"{np.mean(own):.3f}", f"{np.mean(other):.3f}", flush=True)
