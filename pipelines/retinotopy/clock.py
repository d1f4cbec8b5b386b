"""Rivals that read no brain data: what the timing of training frames says of the test's.

A regular design can be continued by anyone with a watch. Two ways, each from training frames
alone: the schedule goes on (a bar that is moving moves on; pauses and sweeps are as long as seen,
any sweep seen so far or its mirror image in time is next), or the whole series is itself, shifted
or mirrored in time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.priors.bars import STEPS_PER_VOLUME, BarFrames

__all__ = ["mirrored_clock", "scheduled_clock"]

Array = np.ndarray[Any, Any]

EXPLAINED = 0.5  # mean correlation from which a known sweep may be the one that is going on
FEWEST = 8  # frames with bars that a symmetry has to explain


def scheduled_clock(
    frames: Array, has_bar: Array, train: Array, test: Array, bars: BarFrames | None = None
) -> Array:
    """Continue the schedule of training frames into the test block, from both sides.

    Parameters
    ----------
    frames : ndarray of shape (n, n_pixels)
        Of the whole recording; only those of training are looked at.
    has_bar : ndarray of shape (n,)
    train, test : ndarray of int
    bars : BarFrames, optional
        Of training: a bar that is moving when training ends and is of no known sweep moves on
        at their speed.

    Returns
    -------
    ndarray of shape (n_test, n_pixels)
        Means over everything that may come next.
    """
    sweeps, pauses = _parts(has_bar, np.asarray(train))
    mean = frames[train].mean(axis=0)
    known = [frames[part] for part in sweeps]
    known += [one[::-1] for one in known]
    pause = int(np.median(pauses)) if pauses else 0
    found = []
    for last, forwards in ((train[train < test[0]], True), (train[train > test[-1]], False)):
        if not len(last):
            continue
        rows = _run(last if forwards else last[::-1])
        n = int(test[-1] - rows[-1]) if forwards else int(rows[-1] - test[0])
        predicted = _continue(frames[rows], has_bar[rows], known, pause, n, bars)
        if forwards:
            found.append(predicted[test - rows[-1] - 1])
        else:
            found.append(predicted[rows[-1] - test - 1])
    out: Array = np.mean(found, axis=0) if found else np.tile(mean, (len(test), 1))
    return out


def _parts(has_bar: Array, train: Array) -> tuple[list[Array], list[int]]:
    """Return the complete sweeps of training and the lengths of complete pauses."""
    sweeps, pauses = [], []
    for piece in np.split(train, np.flatnonzero(np.diff(train) != 1) + 1):
        parts = np.split(piece, np.flatnonzero(np.diff(has_bar[piece].astype(int))) + 1)
        for number, part in enumerate(parts):
            if 0 < number < len(parts) - 1:
                if has_bar[part[0]]:
                    sweeps.append(part)
                else:
                    pauses.append(len(part))
    return sweeps, pauses


def _run(rows: Array) -> Array:
    """Return the part that ends with the last row and has no bar appear or vanish by a gap."""
    breaks = np.flatnonzero(np.abs(np.diff(rows)) != 1)
    return rows[breaks[-1] + 1 :] if len(breaks) else rows


def _continue(
    seen: Array,
    has_bar: Array,
    known: list[Array],
    pause: int,
    n: int,
    bars: BarFrames | None,
) -> Array:
    """Return the n frames expected after the seen ones."""
    changes = np.flatnonzero(has_bar != has_bar[-1])
    length = len(has_bar) - 1 - changes[-1] if len(changes) else len(has_bar)
    out = np.zeros((n, seen.shape[1]))
    begin = np.zeros(n + 1)  # probability that a sweep begins so many frames from now
    if not has_bar[-1]:
        begin[min(n, max(0, pause - length))] = 1.0
    else:
        running = seen[len(seen) - length :]
        ways = _ways_on(running, known, bars)
        for sweep, place in ways:
            rest = sweep[place:][:n]
            out[: len(rest)] += rest / len(ways)
            begin[min(n, len(sweep) - place + pause)] += 1 / len(ways)
    for start in range(n):
        if begin[start]:
            for sweep in known:
                part = sweep[: n - start]
                out[start : start + len(part)] += begin[start] / len(known) * part
                begin[min(n, start + len(sweep) + pause)] += begin[start] / len(known)
    return out


def _ways_on(running: Array, known: list[Array], bars: BarFrames | None) -> list[tuple[Array, int]]:
    """Return sweeps that may be the running one, with the place of the next frame."""
    scored = []
    for sweep in known:
        # All of the running one has to fit, or as much of it as the known one lasts.
        for place in range(min(len(running), len(sweep)), len(sweep) + 1):
            length = min(place, len(running))
            pairs = zip(running[-length:], sweep[place - length : place], strict=True)
            scored.append((float(np.mean([_alike(a, b) for a, b in pairs])), sweep, place))
    best = max((score for score, _, _ in scored), default=0.0)
    alike = [(s, p) for score, s, p in scored if score >= max(EXPLAINED, best - 1e-9)]
    if alike:
        return alike
    if bars is not None and len(running) > 1:
        return [(_moving_on(running, bars), 0)]
    return [(sweep, min(len(running), len(sweep))) for sweep in known]


def _moving_on(running: Array, bars: BarFrames) -> Array:
    """Return the frames of a bar that keeps its direction and the speed of training."""
    size = np.linalg.norm(bars.frames, axis=1) + 1e-9
    before, last = (int(np.argmax(bars.frames @ frame / size)) for frame in running[-2:])
    side = int(np.searchsorted(bars.first, last, side="right"))
    low, high = int(bars.first[side - 1]), int(bars.first[side])
    if last == before or not low <= before < high:
        return np.zeros((0, running.shape[1]))
    step = STEPS_PER_VOLUME if last > before else -STEPS_PER_VOLUME
    places = np.arange(last + step, high if step > 0 else low - 1, step)
    return np.asarray(bars.frames[places])


def _alike(a: Array, b: Array) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def mirrored_clock(frames: Array, has_bar: Array, train: Array, test: Array) -> Array:
    """Continue training frames by the symmetry in time that explains them best.

    Every shift and every mirror axis of the series is tried on training frames; the best one says
    which training frame a test frame equals. Where that is no training frame, and where no
    symmetry explains at least eight frames, it is the mean frame.

    Parameters and result are those of :func:`scheduled_clock`.
    """
    n = len(frames)
    inside = np.zeros(n, dtype=bool)
    inside[train] = True
    norm = frames - frames.mean(axis=1, keepdims=True)
    norm /= np.maximum(np.linalg.norm(norm, axis=1, keepdims=True), 1e-12)
    alike = np.zeros((n, n))
    alike[np.ix_(train, train)] = norm[train] @ norm[train].T
    blank = inside & ~has_bar
    alike[np.ix_(blank, blank)] = 1.0
    best, chosen = (-np.inf, 0), None
    for sign, offset in [(1, k) for k in range(-n + 1, n) if k] + [(-1, k) for k in range(2 * n)]:
        partner = sign * train + offset
        valid = (partner >= 0) & (partner < n)
        rows, partner = train[valid], partner[valid]
        both = inside[partner] & (rows != partner)
        rows, partner = rows[both], partner[both]
        if (has_bar[rows] | has_bar[partner]).sum() < FEWEST:
            continue
        reached = sign * test + offset
        reached = reached[(reached >= 0) & (reached < n)]
        # Of several that explain training alike, the one that says something of the test.
        score = round(float(alike[rows, partner].mean()), 6), int(inside[reached].sum())
        if score > best:
            best, chosen = score, (sign, offset)
    out = np.tile(frames[train].mean(axis=0), (len(test), 1))
    if chosen is not None:
        for number, row in enumerate(test):
            twin = chosen[0] * int(row) + chosen[1]
            if 0 <= twin < n and inside[twin]:
                out[number] = frames[twin]
    return out
