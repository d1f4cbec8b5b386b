"""What each metric says of a blurred, shifted, recoloured, wrong or grey picture.

    python examples/metrics_table.py --photos photos_96px.npz [--each 10] [--page docs/metrics.md]

The file holds ``images`` (n, H, W, 3) uint8 and ``wnid`` (n,), ImageNet's class identifiers; the
first ``--each`` photographs of each of six kinds of animal are taken. The table is printed and,
with ``--page``, put between the two markers of that page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from phosphene.pipelines.metrics.network_features import shared_features
from phosphene.pipelines.metrics.specs import METRICS, create_metric
from phosphene.storage import write_text

Array = np.ndarray[Any, Any]
BEGIN, END = "<!-- metrics_table.py: begin -->", "<!-- metrics_table.py: end -->"
BATCH = 16
KINDS = {  # ImageNet's identifiers are numbered along a tree of kinds
    "birds": [(1514668, 1622779), (1795545, 1860187), (2002556, 2058221)],
    "snakes": [(1728572, 1756291)],
    "dogs": [(2085620, 2113978)],
    "cats": [(2123045, 2130308)],
    "insects": [(2165105, 2281787)],
    "primates": [(2480495, 2500267)],
}
PICTURE_METRICS = [
    "pixcorr/strict-v1", "ssim/strict-v1", "psnr/strict-v1", "mse/unit-range-v1",
    "colour/strict-v1", "edges/strict-v1", "two-way-pixels/strict-v1", "two-way-pixels/takagi",
    "two-way-pixels/strict-less", "efficientnet-lite0/strict-v1",
    "efficientnet-lite0/strict-less", "50-way-efficientnet-lite0/strict-v1",
    "efficientnet-lite0-distance/strict-v1", "kid-efficientnet-lite0/strict-v1",
]  # fmt: skip
WITHIN = ["two-way-pixels/strict-v1", "efficientnet-lite0/strict-v1"]
SEARCHES = [
    "brain-to-image-top1/strict-v1", "image-to-brain-top1/strict-v1",
    "brain-to-image-rank/strict-v1",
]  # fmt: skip


def choose(path: Path, each: int) -> tuple[Array, list[str]]:
    """Return the first photographs of each kind, and their kinds."""
    with np.load(path, allow_pickle=False) as stored:
        images, numbers = stored["images"], [int(one[1:]) for one in stored["wnid"]]
    rows, kinds = [], []
    for kind, ranges in KINDS.items():
        found = [r for r, k in enumerate(numbers) if any(a <= k <= b for a, b in ranges)]
        rows += found[:each]
        kinds += [kind] * len(found[:each])
    return images[rows], kinds


def changes(truth: Array, kinds: Sequence[str]) -> dict[str, Array]:
    """Return what stands for reconstructions, by what was done to the truth."""
    n, height = len(truth), truth.shape[1]
    labels = np.array(kinds)
    partner = np.arange(n)
    for kind in dict.fromkeys(kinds):
        of_kind = np.flatnonzero(labels == kind)
        partner[of_kind] = np.roll(of_kind, 1)
    blurred = [gaussian(one / 255, height / 24, channel_axis=-1) for one in truth]
    turned = rgb2hsv(truth)
    turned[..., 0] = (turned[..., 0] + 0.5) % 1
    return {
        "the same": truth,
        "blurred": _levels(np.stack(blurred)),
        "shifted": np.roll(truth, height // 8, axis=2),
        "recoloured": _levels(hsv2rgb(turned)),
        "same kind": truth[partner],
        "other kind": np.roll(truth, n // 2 + 1, axis=0),
        "mean picture": np.broadcast_to(truth.mean(axis=0).round().astype(np.uint8), truth.shape),
        "grey": np.full_like(truth, 128),
    }


def rows_of(
    truth: Array, kinds: Sequence[str], made: dict[str, Array]
) -> list[tuple[str, dict[str, float | None]]]:
    """Return each metric's value for each change."""
    names = [f"photo-{number:03d}" for number in range(len(truth))]
    jobs: list[tuple[str, str, Callable[[Array], Any], list[str] | None]] = [
        (name, name, lambda pictures: pictures, None) for name in PICTURE_METRICS
    ]
    jobs += [(f"{n}, within a kind", n, lambda pictures: pictures, list(kinds)) for n in WITHIN]
    network = shared_features(
        "efficientnet-lite0", "embedding", (224,), "pillow-bilinear", "lite", None, "cpu"
    )
    jobs += [(f"{name} by its features", name, network.encode, None) for name in SEARCHES]
    table: dict[str, dict[str, float | None]] = {title: {} for title, *_ in jobs}
    for change, pictures in made.items():
        metrics = {title: create_metric(name) for title, name, *_ in jobs}
        for start in range(0, len(truth), BATCH):
            part = slice(start, start + BATCH)
            for title, _, prepare, groups in jobs:
                metrics[title].update(
                    prepare(pictures[part]), prepare(truth[part]), names[part],
                    groups=None if groups is None else groups[part],
                )  # fmt: skip
        for title, metric in metrics.items():
            table[title][change] = metric.compute().value
    return list(table.items())


def markdown(rows: list[tuple[str, dict[str, float | None]]], n: int) -> str:
    """Return the table; an arrow tells whether more is better."""
    columns = list(rows[0][1])
    lines = [f"| metric ({n} photographs) | {' | '.join(columns)} |",
             f"|---|{'---:|' * len(columns)}"]  # fmt: skip
    for title, values in rows:
        name = title.partition(",")[0].partition(" ")[0]
        arrow = "↑" if METRICS[name].spec.higher_is_better else "↓"
        cells = ["-" if values[c] is None else f"{values[c]:.3f}" for c in columns]
        lines.append(f"| {title} {arrow} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _levels(fractions: Array) -> Array:
    return np.rint(255 * np.clip(fractions, 0, 1)).astype(np.uint8)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--each", type=int, default=10, help="photographs of each kind")
    parser.add_argument("--page", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    truth, kinds = choose(options.photos, options.each)
    text = markdown(rows_of(truth, kinds, changes(truth, kinds)), len(truth))
    print(text)
    if options.page is not None:
        page = options.page.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        write_text(options.page, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
        print(f"table: {options.page}")


if __name__ == "__main__":
    main()
