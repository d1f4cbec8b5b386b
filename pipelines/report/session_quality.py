"""The quality page of a dataset: sessions one by one, odd trials, reliability, and findings."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

import phosphene
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.reliability import noise_ceiling, signal_to_noise_of
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.pipelines.evaluation.audit_findings import Finding
from phosphene.types import Recording

__all__ = ["SessionQuality", "SubjectQuality", "measure_quality", "render_quality"]

Array = np.ndarray[Any, Any]
ODD = 4.0  # robust standard deviations from which a trial is told
MOST_SESSIONS, MOST_COLUMNS = 60, 4000
WIDTH, HEIGHT = 640, 110


@dataclass(frozen=True)
class SessionQuality:
    """One session of one subject.

    Attributes
    ----------
    label : str
    n_trials, n_runs, n_test : int
    spread : float
        Median over voxels of the standard deviation over trials.
    drift : float
        Correlation of the mean signal with the order of trials.
    odd : list of str
        Trials whose mean signal or pattern lies far from the others.
    agreement : float or None
        Mean correlation of a picture's patterns here with its patterns in other sessions.
    """

    label: str
    n_trials: int
    n_runs: int
    n_test: int
    spread: float
    drift: float
    odd: list[str]
    agreement: float | None


@dataclass(frozen=True, eq=False)
class SubjectQuality:
    """All sessions of one subject, the mean signal over trials and ceilings of voxels."""

    label: str
    n_voxels: int
    sessions: list[SessionQuality]
    signal: Array
    starts: list[int]
    ceilings: Array | None


def measure_quality(recording: Recording) -> SubjectQuality:
    """Measure a recording session by session, with at most 4,000 of its columns.

    Parameters
    ----------
    recording : Recording
    """
    trials = recording.trials
    flat = recording.data.reshape(len(recording), -1)
    step = max(1, flat.shape[1] // MOST_COLUMNS)
    session = trials["session"].astype(str).to_numpy()
    labels = list(dict.fromkeys(session.tolist()))
    order = np.concatenate([np.flatnonzero(session == label) for label in labels])
    signal = np.empty(len(flat))
    scaled: dict[str, Array] = {}
    found, starts, done = [], [], 0
    for label in labels:
        rows = np.flatnonzero(session == label)
        block = np.asarray(flat[rows][:, ::step], dtype=np.float64)
        spread = block.std(axis=0)
        mean = block.mean(axis=0)
        unit = np.divide(block - mean, spread, out=np.zeros_like(block), where=spread > 1e-12)
        level, size = unit.mean(axis=1), np.sqrt(np.square(unit).mean(axis=1))
        signal[done : done + len(rows)] = level
        starts.append(done)
        done += len(rows)
        odd = np.flatnonzero((_robust(level) > ODD) | (_robust(size) > ODD))
        mine = trials.iloc[rows]
        names = [f"run {mine['run'].iloc[k]} trial {mine['trial'].iloc[k]}" for k in odd]
        scaled[label] = unit.astype(np.float32)
        varied = len(rows) > 2 and level.std() > 0
        drift = float(np.corrcoef(level, np.arange(len(rows)))[0, 1]) if varied else 0.0
        found.append(
            SessionQuality(
                label,
                len(rows),
                int(mine["run"].nunique()),
                int((mine["split"] == "test").sum()),
                float(np.median(spread)),
                drift,
                names,
                None,
            )
        )
    pictures = trials["stimulus_id"].astype(str).to_numpy()
    agreements = _agreements(scaled, pictures, session, labels)
    found = [
        SessionQuality(**{**one.__dict__, "agreement": agreements.get(one.label)}) for one in found
    ]
    try:
        whole = np.concatenate([scaled[label] for label in labels])
        ceilings = noise_ceiling(signal_to_noise_of(whole, pictures[order]), 1)
    except InputError:
        ceilings = None
    return SubjectQuality(
        recording.subject, recording.data.shape[1], found, signal, starts, ceilings
    )


def _robust(values: Array) -> Array:
    """Return distances from the median in robust standard deviations."""
    centred = np.abs(values - np.median(values))
    spread = 1.4826 * np.median(centred)
    return np.asarray(centred / spread if spread > 0 else np.zeros_like(centred))


def _agreements(
    scaled: dict[str, Array], pictures: Array, session: Array, labels: list[str]
) -> dict[str, float]:
    """Return for every session how its means of pictures correlate with those of the others."""
    if len(labels) < 2 or len(labels) > MOST_SESSIONS:
        return {}
    means: dict[str, dict[str, Array]] = {}
    for label in labels:
        names = pictures[session == label]
        means[label] = {}
        for name in dict.fromkeys(names.tolist()):
            pattern = scaled[label][names == name].mean(axis=0)
            centred = pattern - pattern.mean()
            norm = float(np.linalg.norm(centred))
            if norm > 0:
                means[label][name] = centred / norm
    agreements = {}
    for label in labels:
        values = [
            float(pattern @ means[other][name])
            for name, pattern in means[label].items()
            for other in labels
            if other != label and name in means[other]
        ]
        if values:
            agreements[label] = float(np.mean(values))
    return agreements


def render_quality(
    dataset: CanonicalDataset, findings: Sequence[Finding], remedies: dict[str, str]
) -> str:
    """Return the page as text; it holds no pictures of stimuli and loads nothing."""
    jinja2 = require("jinja2", "report")
    markup = require("markupsafe", "report").Markup
    folder = files("phosphene.pipelines.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    style = folder.joinpath("style.html.j2").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    subjects = [
        measure_quality(dataset.recording(label)) for label in sorted(dataset.file.subjects)
    ]
    page: str = environment.get_template("quality.html.j2").render(
        dataset=dataset.file,
        n_stimuli=dataset.table["stimulus_id"].nunique(),
        findings=findings,
        remedies=remedies,
        subjects=subjects,
        tripped=[one for one in findings if one.verdict == "tripped"],
        signals={one.label: markup(_signal_plot(one)) for one in subjects},
        ceilings={one.label: markup(_ceiling_plot(one.ceilings)) for one in subjects},
        style=markup(style),
        style_hash=f"sha256-{digest}",
        version=phosphene.__version__,
    )
    return page


def _signal_plot(quality: SubjectQuality) -> str:
    """Return the mean signal over trials as SVG, a tick where a session begins."""
    values = np.clip(quality.signal, -1.5, 1.5)
    keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), 1200)).astype(int))
    x = 8 + keep / max(len(values) - 1, 1) * (WIDTH - 16)
    y = HEIGHT / 2 - values[keep] / 1.5 * (HEIGHT / 2 - 8)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    ticks = "".join(
        f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="4" y2="{HEIGHT - 4}"/>'
        for at in (8 + start / max(len(values) - 1, 1) * (WIDTH - 16) for start in quality.starts)
    )
    return (
        f'<svg class="curve wide-curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Mean signal of every trial">{ticks}'
        f'<line class="chance" x1="8" x2="{WIDTH - 8}" y1="{HEIGHT / 2}" y2="{HEIGHT / 2}"/>'
        f'<polyline points="{points}"/></svg>'
    )


def _ceiling_plot(ceilings: Array | None) -> str:
    """Return how many voxels have which noise ceiling, as SVG."""
    if ceilings is None:
        return ""
    top = max(0.1, float(np.quantile(ceilings, 0.995)))
    counts, edges = np.histogram(np.clip(ceilings, 0, top), bins=24, range=(0, top))
    wide = (WIDTH - 16) / 24
    scale = (HEIGHT - 30) / max(counts.max(), 1)
    bars = "".join(
        f'<rect x="{8 + k * wide:.1f}" y="{HEIGHT - 20 - n * scale:.1f}" width="{wide - 2:.1f}" '
        f'height="{n * scale:.1f}" fill="currentColor" opacity=".55"/>'
        for k, n in enumerate(counts)
    )
    labels = "".join(
        f'<text x="{20 + k * wide:.1f}" y="{HEIGHT - 6}">{edges[k]:.2f}</text>'
        for k in (0, 6, 12, 18)
    )
    return (
        f'<svg class="curve wide-curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Noise ceilings of voxels">{bars}{labels}</svg>'
    )
