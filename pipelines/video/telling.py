"""What the page of a video run says, from what the run wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.pipelines.report.from_reconstruction import is_virtual, settings_words
from phosphene.pipelines.video.report import (
    ShownClip,
    VideoPage,
    film_of,
    render_video_page,
    spread,
)
from phosphene.schemas import MetricsFile, RunFile
from phosphene.storage import load_array
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frames_of", "page_of"]

CAREFUL = (
    "First frame: decoded. Optical flow: {flow}. Results with a true first frame, or with none, "
    "cannot be compared with these. A video generator makes plausible clips of anything: look at "
    "the controls before you look at the clips."
)


def page_of(
    root: Path,
    run: RunFile,
    table: pd.DataFrame,
    metrics: MetricsFile | None,
    *,
    stimuli: bool,
) -> str:
    """Return the report as text, from what lies in the output folder: the same each time.

    Parameters
    ----------
    root : Path
        Where ``trials.tsv`` has its files.
    run : RunFile
    table : DataFrame
        A row per clip, as in ``trials.tsv``.
    metrics : MetricsFile or None
    stimuli : bool
        False leaves out the shown clips and their names.
    """
    config, shown = run.config, spread(len(table))
    cards = [_card(root, table.iloc[item], item, stimuli=stimuli) for item in shown]
    few = len(shown) < len(table)
    many = f"{len(shown)} of {len(table)} clips, spread evenly." if few else ""
    what = (
        "Shown and decoded play side by side, by one clock."
        if any(len(card.films) > 1 for card in cards)
        else "What was decoded."
    )
    return render_video_page(
        VideoPage(
            heading=f"What sub-{config['subject']} watched",
            lead=_lead(run, len(table)),
            model=run.model,
            careful=CAREFUL.format(flow=config["flow"]),
            virtual=is_virtual(run.model, run.protocol, config),
            said=" ".join(part for part in (what, many) if part),
            clips=cards,
            measures=_measures(metrics),
            provenance=_provenance(run, stimuli=stimuli),
        )
    )


def _lead(run: RunFile, count: int) -> str:
    config = run.config
    showings = config.get("averaged", 1)
    mean = "" if showings == 1 else f", mean of {showings} showings"
    lead = (
        f"{count} clips of {config['clip_seconds']:g} s decoded from {config['volumes']} volumes, "
        f"one every {config['tr']:g} s{mean}, by {run.model}."
    )
    blur = config.get("picture_detail") or 0
    if blur:
        lead += (
            f" Detail of keyframes finer than {blur:g} pixels is borrowed from training pictures."
        )
    return lead


def _card(root: Path, row: pd.Series[Any], item: int, *, stimuli: bool) -> ShownClip:
    size = frames_of(root, str(row["file"])).shape[1:3]
    films = [film_of(root / str(row["file"]), "decoded", (int(size[0]), int(size[1])))]
    if stimuli and row["truth"] != UNKNOWN:
        films.insert(0, film_of(root / str(row["truth"]), "shown", (int(size[0]), int(size[1]))))
    begins = float(row["start"])
    told = f"second {begins:g} to {begins + float(row['duration']):g}"
    if row["straddles_cut"] == "yes":
        told += ", over a cut"
    told += f"; new scene decoded with probability {float(row['cut_probability']):.2f}"
    if "decoded_caption" in row.index:
        told += f". Nearest known words: {row['decoded_caption']}"
    return ShownClip(
        item, str(row["stimulus_id"]) if stimuli else f"clip {item}", told, tuple(films)
    )


def frames_of(root: Path, file: str) -> Any:
    """Return the lossless frames (F, H, W, 3) of a clip by the name of its MP4; read when used."""
    return load_array(root / file.replace("_desc-recon_video.mp4", "_desc-recon_frames.npy"))


def _provenance(run: RunFile, *, stimuli: bool) -> list[tuple[str, str]]:
    config, protocol = run.config, run.protocol
    return [
        ("model", f"{run.model} ({run.model_hash})"),
        ("keyframes", f"{config['picture_model']}, first frame decoded"),
        ("moved by", str(config["generator"])),
        ("volumes of a clip", f"those that begin {config['delay']:g} s after it, for "
         f"{config['window']:g} s; movie from {config['onset']:g} s on"),
        ("seams", "neighbours blended, reset at cuts" if config["seams"] else "as decoded"),
        ("clips left out", f"{config['clips_left_out']}, whose volumes the run does not have"),
        ("trained on", f"{protocol.dataset} ({protocol.dataset_hash})"),
        ("normalisation",
         f"{protocol.normalisation}: fitted on {protocol.normalisation_fitted_on}"),
        ("settings", settings_words(config, stimuli=stimuli)),
        ("input", run.input_hash),
        ("versions", ", ".join(f"{k} {v}" for k, v in run.versions.items())),
    ]  # fmt: skip


def _measures(metrics: MetricsFile | None) -> list[list[str]]:
    """Return a row per metric: value, interval, wrong pairing, stills, grey."""
    if metrics is None:
        return []

    def number(value: float | None) -> str:
        return UNKNOWN if value is None else f"{value:.3f}"

    rows = []
    for metric in metrics.metrics:
        low, high = metric.interval or (None, None)
        rows.append(
            [
                metric.id,
                number(metric.value),
                f"{number(low)} to {number(high)}",
                number(metric.chance),
                *(
                    number(metric.baselines.get(name))
                    for name in ("still_picture", "still_truth", "grey_picture")
                ),
            ]
        )
    return rows
