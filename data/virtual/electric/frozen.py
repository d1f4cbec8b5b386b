"""The identity of the frozen EEG and MEG subjects: what has been measured stays comparable."""

from __future__ import annotations

import hashlib

import numpy as np

from phosphene.data.virtual.electric.head import VirtualHead
from phosphene.data.virtual.electric.presets import ELECTRIC_PRESETS, ELECTRIC_VERSION
from phosphene.data.virtual.electric.sources import time_courses

__all__ = ["HEAD_HASH", "head_hash"]

HEAD_HASH = "34a1753e258806a143eab55066903c5c97075735820f26e6995a33ecf1863f18"
"""Hash of subjects 01 and 02, version 1; a change that alters it needs a new version."""


def head_hash(labels: tuple[str, ...] = ("01", "02")) -> str:
    """Return the sha256 of everything drawn or set for these subjects, to four digits.

    The cortex has a hash of its own, :data:`phosphene.data.virtual.SUBJECT_HASH`.
    """
    digest = hashlib.sha256(ELECTRIC_VERSION.encode())
    digest.update(repr(sorted(ELECTRIC_PRESETS.items())).encode())
    parts = {"courses": time_courses(250.0, 0.1)[0]}
    for label in labels:
        for preset in ("eeg-63", "meg-271"):
            head = VirtualHead(label, preset)
            sources = head.sources
            lead = head.field(sources.positions, sources.normals)
            parts[f"{label} {preset}"] = lead / np.abs(lead).max()
            background = head.background()
            for name in ("spatial", "alpha", "blink"):
                values = getattr(background, name)
                parts[f"{label} {preset} {name}"] = values / np.abs(values).max()
            parts[f"{label} {preset} latency"] = sources.latency
    for name, values in sorted(parts.items()):
        digest.update(f"{name}{values.shape}".encode())
        # Far coarser than rounding of elementary functions, so that processors agree.
        digest.update(np.round(values * 1e4).astype("<i8").tobytes())
    return digest.hexdigest()
