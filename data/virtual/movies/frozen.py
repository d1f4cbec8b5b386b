"""The identity of the frozen subjects who watch movies."""

from __future__ import annotations

import hashlib

from phosphene.data.virtual.frozen import SUBJECT_HASH, digest_values
from phosphene.data.virtual.movies.motion_area import MOTION_SHARES
from phosphene.data.virtual.movies.subject import MOVIE_VERSION, MovieSubject
from phosphene.data.virtual.noise import plan_noise

__all__ = ["MOVIE_SUBJECT_HASH", "movie_subject_hash"]

MOVIE_SUBJECT_HASH = "db74079f8a9821e6f78bcadefaf3feebd919a7f70dc7e74cf3c31b688352e28c"
"""Hash of subjects 01 and 02, version 1; a change that alters it needs a new MOVIE_VERSION."""


def movie_subject_hash(labels: tuple[str, ...] = ("01", "02")) -> str:
    """Return the sha256 of what these subjects have beside those of the picture experiment."""
    digest = hashlib.sha256(
        f"{MOVIE_VERSION} {SUBJECT_HASH} {sorted(MOTION_SHARES.items())}".encode()
    )
    for label in labels:
        subject = MovieSubject(label)
        anatomy = subject.movie_anatomy.anatomy
        ratio, hrf = plan_noise(label, anatomy, subject.preset)
        for name, values in (
            ("indices", anatomy.space.indices),
            ("area", anatomy.area),
            ("rf_x", anatomy.rf_x),
            ("rf_y", anatomy.rf_y),
            ("rf_sigma", anatomy.rf_sigma),
            ("exponent", anatomy.exponent),
            ("motion", subject.motion_tuning.weights),
            ("amplitude", subject.amplitude),
            ("ncsnr", ratio),
            ("hrf", hrf),
        ):
            digest_values(digest, name, values)
    return digest.hexdigest()
