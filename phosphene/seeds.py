"""One random stream per output item.

The seed of an item depends on what the item is and never on its position in a batch, so a
subset, another order, a resumed run or another batch size gives the same pictures.
"""

from __future__ import annotations

import hashlib
import json

__all__ = ["item_seed"]


def item_seed(seed: int, subject: str, trial_key: str, sample: int) -> int:
    """Return the 63-bit seed of one sample of one item.

    Examples
    --------
    >>> item_seed(0, "01", "stim-000001", 0) == item_seed(0, "01", "stim-000001", 0)
    True
    >>> item_seed(0, "01", "stim-000001", 0) == item_seed(0, "01", "stim-000001", 1)
    False
    """
    text = json.dumps([int(seed), str(subject), str(trial_key), int(sample)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
