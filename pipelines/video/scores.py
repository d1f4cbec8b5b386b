"""Numbers of a video run that need no network: frames beside frames, with their controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.data.movies.run import MovieClips, first_scene
from phosphene.data.pictures import Pictures
from phosphene.errors import AssetError
from phosphene.pipelines.evaluation.clip_controls import ClipScores, score_clips
from phosphene.schemas import MetricsFile, MetricValue, PermutedPairing, Protocol

__all__ = ["METRICS", "score_videos"]

Array = np.ndarray[Any, Any]
METRICS = ("video-ssim/strict-v1", "video-psnr/strict-v1")
"""Quick ones; `phosphene evaluate --suite video` has those of networks and of optical flow."""
N_PERMUTATIONS = 200


def score_videos(
    shown: Pictures, truth: Pictures, clips: MovieClips, protocol: Protocol, *, seen: int = 0
) -> MetricsFile | None:
    """Return metrics of clips (n, F, H, W, 3) against true ones; clips of a scene go together."""
    metrics, per_item = [], {}
    # A clip that straddles a cut goes with the scene in which it begins.
    scenes = [first_scene(str(name)) for name in clips.scene]
    grouped = scenes if len(set(scenes)) > 1 else None
    for name in METRICS:
        try:
            found = score_clips(name, shown, truth, scenes=grouped, n_permutations=N_PERMUTATIONS)
        except AssetError:  # an optional package that is not there
            continue
        metrics.append(_metric(found))
        per_item[name] = [float(v) if np.isfinite(v) else None for v in found.scores]
    if not metrics:
        return None
    return MetricsFile(
        metrics=metrics,
        per_item=per_item,
        protocol=protocol,
        n_pictures=len(shown),
        n_seen_in_training=seen,
        interval_rule="95 % bootstrap over clips, those of one scene together",
    )


def _metric(found: ClipScores) -> MetricValue:
    permuted = found.permuted
    return MetricValue(
        id=found.spec.id,
        value=found.value,
        interval=found.interval,
        chance=permuted.chance,
        baselines={k: float(v) for k, v in found.controls.items() if np.isfinite(v)},
        n_items=int(np.isfinite(found.scores).sum()),
        higher_is_better=found.spec.higher_is_better,
        note=found.spec.note,
        permuted=PermutedPairing(
            mean=permuted.chance,
            p_value=permuted.p_value,
            n_permutations=len(permuted.null),
            rule="clips exchanged",
        ),
    )
