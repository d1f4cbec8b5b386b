"""Black pictures: what half precision makes of numbers it cannot hold."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from phosphene.errors import PhospheneError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["refuse_overflow"]

logger = logging.getLogger(__name__)


def refuse_overflow(values: Tensor, *, where: str) -> Tensor:
    """Return ``values`` (n, ...) when all are finite; warn of pictures that are black all over.

    Parameters
    ----------
    values : Tensor of shape (n, ...)
        Latents, or pictures in 0..1.
    where : str
        Which network they come out of.

    Raises
    ------
    PhospheneError
        If any number is infinite or none at all: the picture would be black.
    """
    flat = values.flatten(1)
    bad = int((~flat.isfinite().all(1)).sum())
    if bad:
        raise PhospheneError(
            f"{bad} of {len(values)} pictures would be black: numbers overflowed in {where} "
            f"({values.dtype})",
            expected="finite numbers",
            remedy="use float32 or bfloat16: --set generator_options.dtype=float32",
        )
    black = int((flat == 0).all(1).sum())
    if black:
        logger.warning("%d of %d pictures from %s are black all over", black, len(values), where)
    return values
