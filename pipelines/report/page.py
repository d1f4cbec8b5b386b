"""What was shown beside what was decoded, the numbers, and how they came about."""

from __future__ import annotations

import base64
import io
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import phosphene
from phosphene.data.pictures import Pictures
from phosphene.names import require
from phosphene.schemas import MetricsFile, RunFile
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    from phosphene.pipelines.reconstruction import Reconstruction

__all__ = ["render_report"]

MAX_ITEMS = 120
METRIC_WORDS = {
    "pixcorr/strict-v1": "Pixel correlation",
    "ssim/uniform7-v1": "Structural similarity (SSIM)",
    "mse/unit-range-v1": "Mean squared error",
    "two-way-pixels/strict-v1": "Two-way identification (pixels)",
}


def render_report(result: Reconstruction, *, stimuli: bool = True) -> str:
    """Return the page as text.

    Parameters
    ----------
    result : Reconstruction
    stimuli : bool
        False keeps the pictures that were shown out of the page.
    """
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = files("phosphene.pipelines.report").joinpath("page.html.j2").read_text("utf-8")
    run = result.provenance
    page: str = environment.from_string(source).render(
        run=run,
        version=phosphene.__version__,
        items=_items(result, stimuli=stimuli and result.truth is not None),
        has_truth=stimuli and result.truth is not None,
        n_items=len(result),
        max_items=MAX_ITEMS,
        metrics=[] if result.metrics is None else _metric_rows(result.metrics),
        interval_rule="" if result.metrics is None else result.metrics.interval_rule,
        n_seen=0 if result.metrics is None else result.metrics.n_seen_in_training,
        protocol=_protocol_rows(run),
        provenance=_provenance_rows(run),
    )
    return page


def _items(result: Reconstruction, *, stimuli: bool) -> list[dict[str, Any]]:
    scores: dict[str, list[float | None]] = (
        {} if result.metrics is None else result.metrics.per_item
    )
    correlation = scores.get("pixcorr/strict-v1")
    rows = []
    for item, trial in enumerate(result.trials.head(MAX_ITEMS).to_dict("records")):
        name = str(trial["stimulus_id"])
        rows.append(
            {
                "label": f"item {item}" if name == UNKNOWN else name,
                "truth": _picture(result.truth[item])
                if stimuli and result.truth is not None
                else "",
                "samples": [_picture(pixels) for pixels in result.images[item]],
                "score": f"r {correlation[item]:.2f}" if correlation else "",
            }
        )
    return rows


def _picture(pixels: Pictures) -> str:
    """Return a picture as a data address, so that the page needs no other file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _metric_rows(metrics: MetricsFile) -> list[dict[str, str]]:
    rows = []
    for metric in metrics.metrics:
        interval = metric.interval
        rows.append(
            {
                "name": METRIC_WORDS.get(metric.id, metric.id),
                "id": metric.id,
                "direction": "higher is better" if metric.higher_is_better else "lower is better",
                "value": _number(metric.value),
                "interval": "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
                "chance": _number(metric.chance),
                "mean_picture": _number(metric.baselines.get("mean_picture")),
                "grey_picture": _number(metric.baselines.get("grey_picture")),
                "note": metric.note,
            }
        )
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _protocol_rows(run: RunFile) -> list[tuple[str, str]]:
    protocol = run.protocol
    trials = ", ".join(f"sub-{s}: {n}" for s, n in protocol.n_train_trials.items())
    return [
        ("Training data", f"{protocol.dataset} ({protocol.dataset_hash})"),
        ("Training trials", trials),
        ("Different training pictures", str(len(protocol.train_stimulus_ids))),
        ("Voxels", protocol.mask),
        (
            "Normalisation",
            f"{protocol.normalisation}, fitted on {protocol.normalisation_fitted_on}",
        ),
        ("Repetitions in training", protocol.averaging_train),
        ("Repetitions in this run", protocol.averaging_test),
        ("Chosen by", protocol.selection_rule),
        ("Looks at other test items", "yes (transductive)" if protocol.transductive else "no"),
    ]


def _provenance_rows(run: RunFile) -> list[tuple[str, str]]:
    settings = ", ".join(f"{key} {value}" for key, value in run.config.items() if value is not None)
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    return [
        ("Model", f"{run.model} ({run.model_hash})"),
        ("Input", run.input_hash),
        ("Settings", settings),
        ("Started", run.started),
        ("Versions", versions),
    ]
