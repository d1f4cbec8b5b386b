"""Pearson's r of every row with every other, in one product and little memory.

Stacking truths and predictions and correlating all rows, as evaluations of pictures usually do,
makes four times the products, in float64, on several copies of everything. Here columns are read
once, a block at a time, each centred on its own mean; sums of products within blocks and between
their means add up to the exact total. What is needed beside the input does not grow with the
length of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phosphene.errors import InputError

__all__ = ["Correlations", "correlate", "near_copies", "sketch_rows", "unit_rows"]

Array = np.ndarray[Any, Any]
BLOCK = 2048  # columns at a time: 1,000 rows of them are 8 MB, and stay near the processor
SKETCH = 32  # random directions that tell equal rows from others
ROUNDING = 16  # units in the last place that a mean of equal numbers may be off
SAME = 1e-6  # 1 - r of two predictions that are one


@dataclass(frozen=True, eq=False)
class Correlations:
    """Correlations of truths with predictions.

    Attributes
    ----------
    matrix : ndarray of shape (n_truth, n_predicted)
        Pearson's r, float64; 0 beside a row without any variance.
    copies : ndarray of shape (n_predicted, n_predicted)
        Which predictions are (nearly) the same one, up to scale and offset: r above 1 - 1e-6.
    tolerance : float
        Difference of two correlations that rounding alone can make.
    """

    matrix: Array
    copies: Array
    tolerance: float


class _Side:
    """Sums over the blocks of one of the two sets."""

    def __init__(self, rows: Array, kind: torch.dtype, device: str) -> None:
        self.rows, self.kind, self.device = rows, kind, device
        self.squares = torch.zeros(len(rows), dtype=torch.float64)
        self.means: list[torch.Tensor] = []

    def block(self, start: int) -> torch.Tensor:
        """Return the next columns, each row centred on its mean over them."""
        columns = self.rows[:, start : start + BLOCK]
        if not (self.rows.flags.writeable and self.rows.flags.c_contiguous):
            columns = np.array(columns, order="C")  # torch takes no read-only or reversed memory
        part = torch.from_numpy(columns).to(self.device, self.kind)
        mean = part.mean(dim=1, keepdim=True)
        part = part - mean
        self.means.append(mean[:, 0].double().cpu())
        self.squares += torch.linalg.vector_norm(part, dim=1).double().square().cpu()
        return part

    def finish(self, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weighted deviations of block means (n, blocks) and 1 / length of each row."""
        means = torch.stack(self.means, dim=1)
        if not torch.isfinite(means).all():
            raise InputError(
                "features that are not finite",
                expected="numbers in every place",
                remedy="look for NaN or infinity in what was predicted",
            )
        centre = means @ (sizes / sizes.sum())
        between = (means - centre[:, None]) * sizes.sqrt()
        norms = (self.squares + between.square().sum(dim=1)).sqrt()
        noise = ROUNDING * torch.finfo(self.kind).eps * centre.abs() * sizes.sum().sqrt()
        flat = norms <= noise.clamp_min(1e-12)  # all that is left is rounding
        return between, torch.where(flat, 0.0, 1 / norms.clamp_min(1e-300))


def correlate(truth: Array, predicted: Array, *, device: str = "cpu") -> Correlations:
    """Correlate every truth with every prediction.

    Parameters
    ----------
    truth : ndarray of shape (n_truth, d)
    predicted : ndarray of shape (n_predicted, d)
        float16 and float32 are multiplied in float32 and summed over blocks in float64, with an
        error near 1e-7; everything else in float64. Memory-mapped arrays are read in blocks.
    device : str
        Where the products are made, a block of columns at a time.
    """
    kind = torch.float32 if _is_short(truth, predicted) else torch.float64
    sides = _Side(truth, kind, device), _Side(predicted, kind, device)
    product = torch.zeros(len(truth), len(predicted), dtype=torch.float64, device=device)
    sketch = torch.zeros(len(predicted), SKETCH, dtype=torch.float64)
    starts = range(0, truth.shape[1], BLOCK)
    for start in starts:
        one, two = (side.block(start) for side in sides)
        product += one @ two.T
        sketch += (two @ _directions(start, two.shape[1]).to(device, kind)).cpu()
    sizes = torch.tensor([min(BLOCK, truth.shape[1] - start) for start in starts]).double()
    (between, scale), (other, other_scale) = (side.finish(sizes) for side in sides)
    matrix = product.cpu()
    matrix += between @ other.T
    matrix *= scale[:, None]
    matrix *= other_scale[None, :]
    sketch += other @ _directions(-1, len(sizes)).double()
    copies = near_copies((sketch * other_scale[:, None]).numpy())
    return Correlations(matrix.numpy(), copies, 1e-6 if kind == torch.float32 else 1e-12)


def unit_rows(rows: Array) -> Array:
    """Centre each row and give it length 1; a flat row becomes zero. float64 stays, else float32.

    Products of such rows are their correlations, so that features can be kept like this.
    """
    kind: Any = np.float32 if _is_short(rows) else np.float64
    mean = rows.mean(axis=1, dtype=np.float64)
    centred: Array = np.asarray(rows, dtype=kind) - mean[:, None].astype(kind)
    norms = np.sqrt(np.square(centred).sum(axis=1, dtype=np.float64))
    noise = ROUNDING * np.finfo(kind).eps * np.abs(mean) * np.sqrt(rows.shape[1])
    flat = norms <= np.maximum(noise, 1e-12)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=~flat)
    centred *= scale[:, None].astype(kind)
    return centred


def sketch_rows(rows: Array) -> Array:
    """Return unit rows in 32 random directions (n, 32), which are the same each time."""
    found = np.zeros((len(rows), SKETCH))
    for start in range(0, rows.shape[1], BLOCK):
        part = rows[:, start : start + BLOCK]
        found += part @ _directions(start, part.shape[1]).numpy().astype(rows.dtype)
    return found


def near_copies(sketch: Array) -> Array:
    """Tell copies (n, n) by their sketches: they agree in every direction, others in none.

    The squared distance of unit vectors is 2 (1 - r); 32 directions keep it up to a quarter.
    """
    power = np.square(sketch).sum(axis=1)
    distance = power[:, None] + power[None, :] - 2 * (sketch @ sketch.T)
    return np.asarray(distance / SKETCH <= 2 * SAME)


def _directions(start: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(69_000_000 + start)
    return torch.randn(length, SKETCH, generator=generator)


def _is_short(*arrays: Array) -> bool:
    return all(array.dtype in (np.float16, np.float32) for array in arrays)
