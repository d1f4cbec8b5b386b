"""The identity of the frozen subjects: what has been measured on them stays comparable."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from phosphene.data.virtual.areas import AREAS, PRESETS, VERSION
from phosphene.data.virtual.content_tuning import unit_preferences
from phosphene.data.virtual.haemodynamics import HRF_PARAMETERS
from phosphene.data.virtual.noise import plan_noise
from phosphene.data.virtual.subject import VirtualSubject

__all__ = ["SUBJECT_HASH", "digest_values", "subject_hash"]

SUBJECT_HASH = "3a4cbaa7c9f593b6bafe65583001d9aee69e56db8f5b052bf0fad08c053fbabd"
"""Hash of subjects 01 to 04, version 1; a change that alters it needs a new VERSION."""


def subject_hash(labels: tuple[str, ...] = ("01", "02", "03", "04")) -> str:
    """Return the sha256 of everything drawn or set for these subjects, to four digits.

    Responses follow from it by arithmetic; a golden file of responses in the tests guards that.
    """
    digest = hashlib.sha256(VERSION.encode())
    digest.update(repr((AREAS, sorted(PRESETS.items()), HRF_PARAMETERS)).encode())
    for name, values in sorted(unit_preferences().items()):
        digest_values(digest, name, values)
    for label in labels:
        subject = VirtualSubject(label)
        anatomy = subject.anatomy
        ratio, hrf = plan_noise(label, anatomy, subject.preset)
        for name, values in (
            ("indices", anatomy.space.indices),
            ("area", anatomy.area),
            ("rf_x", anatomy.rf_x),
            ("rf_y", anatomy.rf_y),
            ("rf_sigma", anatomy.rf_sigma),
            ("exponent", anatomy.exponent),
            ("channels", subject.early_vision.weights),
            *((kind, weights) for kind, weights in subject.content_tuning.weights.items()),
            ("amplitude", subject.amplitude),
            ("suppression", subject.suppression),
            ("ncsnr", ratio),
            ("hrf", hrf),
        ):
            digest_values(digest, name, values)
    return digest.hexdigest()


def digest_values(digest: Any, name: str, values: np.ndarray[Any, Any]) -> None:
    """Let a hash take in values, rounded to four digits."""
    # Far coarser than rounding of elementary functions, so that processors agree.
    rounded = np.round(np.asarray(values, dtype=np.float64) * 1e4).astype("<i8")
    digest.update(f"{name}{rounded.shape}".encode())
    digest.update(rounded.tobytes())
