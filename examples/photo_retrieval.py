"""Retrieval among real pictures: changed copies of photographs, and object pictures beside brains.

    python examples/photo_retrieval.py --data ../shared/data

Photographs are indexed by features of EfficientNet-Lite0; blurred, cropped and recoloured copies
have to find their original. Then similarities of these features between 92 object pictures are
compared with dissimilarities of human inferior-temporal responses (Kriegeskorte et al. 2008),
beside how well one person's agree with the others' (the noise ceiling). Nothing of the pictures
is kept.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.io import loadmat
from scipy.stats import rankdata, spearmanr

from phosphene.data.pictures import Pictures
from phosphene.pipelines.metrics import bootstrap_interval
from phosphene.pipelines.retrieval.building import IndexConfig, build_index
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.key_encoder import open_encoder

Array = np.ndarray[Any, Any]
TARGET = "efficientnet-lite0"


def changed(pixels: Pictures, how: str) -> Pictures:
    """Return a copy of a photograph (96, 96, 3), changed in one way."""
    image = Image.fromarray(pixels)
    side = min(image.size)
    if how == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(side / 96))
    elif how == "cropped":  # the middle three quarters of either side
        edge = side // 8
        image = image.crop((edge, edge, side - edge, side - edge))
    elif how == "recoloured":  # hues turned by a quarter of the circle, half the saturation
        hue, saturation, value = image.convert("HSV").split()
        hue = hue.point(lambda level: (level + 64) % 256)
        image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
        image = ImageEnhance.Color(image).enhance(0.5)
    return np.asarray(image)


def copies(index: Index, encoder: Any, photos: Array) -> None:
    """Print how often a changed copy finds its original at rank 1."""
    for how in ("blurred", "cropped", "recoloured"):
        keys = encoder.pictures([changed(one, how) for one in photos])
        rows = index.search(keys, 1).rows[:, 0]
        hits = (rows == np.arange(len(photos))).astype(np.float64)
        low, high = bootstrap_interval(hits)
        print(
            f"{how}: original at rank 1 in {hits.mean():.3f} ({low:.3f} to {high:.3f}) of "
            f"{len(photos)}; chance {1 / len(photos):.3f}",
            flush=True,
        )


def human_matrices(path: Path) -> Array:
    """Return dissimilarities of four people (4, 4186), the mean of two sessions each."""
    stored = loadmat(path)["RDMs"][0]  # people x sessions, each with a 92 x 92 matrix
    upper = np.triu_indices(92, 1)
    return np.array(
        [
            np.mean([np.asarray(one["RDM"], dtype=float)[upper] for one in person], axis=0)
            for person in stored
        ]
    )


def noise_ceiling(people: Array) -> tuple[float, float]:
    """Return the mean rank correlation of each person with the others, and with all.

    Nili et al. 2014, *A toolbox for representational similarity analysis*.
    """
    ranks = np.array([rankdata(person) for person in people])
    lower = [
        spearmanr(ranks[n], np.delete(ranks, n, axis=0).mean(axis=0))[0] for n in range(len(ranks))
    ]
    upper = [spearmanr(one, ranks.mean(axis=0))[0] for one in ranks]
    return float(np.mean(lower)), float(np.mean(upper))


def object_pictures(path: Path) -> list[Pictures]:
    """Return the 92 pictures in the order of the matrices."""
    stored = loadmat(path)["stimuli_92objs"].ravel()
    return [np.asarray(one["image"], dtype=np.uint8) for one in stored]


def brains(encoder: Any, folder: Path) -> None:
    """Print the agreement of feature and human dissimilarities."""
    pictures = object_pictures(folder / "Kriegeskorte_Neuron2008_supplementalData.mat")
    people = human_matrices(folder / "92_brainRDMs.mat")
    keys = encoder.pictures(pictures)
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    ours = (1 - unit @ unit.T)[np.triu_indices(len(pictures), 1)]
    scores = [float(spearmanr(ours, person)[0]) for person in people]
    grey = np.array([one.astype(float).ravel() for one in pictures])
    pixels = (1 - np.corrcoef(grey))[np.triu_indices(len(pictures), 1)]
    plain = [float(spearmanr(pixels, person)[0]) for person in people]
    lower, upper = noise_ceiling(people)
    rng = np.random.default_rng(0)
    square = np.zeros((92, 92))
    square[np.triu_indices(92, 1)] = people.mean(axis=0)
    square += square.T
    chance = []
    for _ in range(1000):
        order = rng.permutation(92)
        shuffled = square[np.ix_(order, order)][np.triu_indices(92, 1)]
        chance.append(abs(spearmanr(ours, shuffled)[0]))
    print(
        f"{len(pictures)} objects, Spearman with each of {len(people)} people: "
        + ", ".join(f"{score:.3f}" for score in scores)
        + f"; mean {np.mean(scores):.3f}; pixels {np.mean(plain):.3f}; noise ceiling "
        f"{lower:.3f} to {upper:.3f}; 95 % of shuffled matrices below "
        f"{np.quantile(chance, 0.95):.3f}"
    )


def main() -> None:
    """Print both results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data", help="folder with photos, objects92")
    parser.add_argument("--photos", type=int, default=500)
    options = parser.parse_args()
    root = Path(options.data)
    encoder = open_encoder(TARGET)
    brains(encoder, root / "objects92")
    archive = np.load(root / "photos" / "photos_96px.npz", allow_pickle=False)
    photos = archive["images"][: options.photos]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pictures"
        folder.mkdir()
        for number, pixels in enumerate(photos):
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        index = build_index(
            IndexConfig(pictures=str(folder), target=TARGET, output=str(Path(name) / "index"))
        )
        copies(index, encoder, photos)


if __name__ == "__main__":
    main()
