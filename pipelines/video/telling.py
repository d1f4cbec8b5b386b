"""What the page of a video run says, from what the run wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.pipelines.video.report import (
    ShownClip,
    VideoPage,
    film_of,
    render_video_page,
    spread,
)
from phosphene.schemas import MetricsFile
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.pipelines.video.model import VideoModel
    from phosphene.pipelines.video.output import VideoOutput

__all__ = ["page_of"]

CAREFUL = (
    "First frame: decoded. Optical flow: {flow}. Results with a true first frame, or with none, "
    "cannot be compared with these. A video generator makes plausible clips of anything: look at "
    "the controls before you look at the clips."
)


def page_of(
    output: VideoOutput,
    model: VideoModel,
    run: MovieRun,
    clips: MovieClips,
    table: pd.DataFrame,
    metrics: MetricsFile | None,
    *,
    stimuli: bool,
) -> str:
    """Return the report as text; films are read from the files that were written."""
    shown, size = spread(len(clips)), output.rendered_size
    cards = []
    for item in shown:
        row = table.iloc[item]
        films = [film_of(output.partial / str(row["file"]), "decoded", size)]
        if row["truth"] != UNKNOWN:
            films.insert(0, film_of(output.partial / str(row["truth"]), "shown", size))
        begins = float(row["start"])
        told = f"second {begins:g} to {begins + clips.length:g}"
        if row["straddles_cut"] == "yes":
            told += ", over a cut"
        told += f"; new scene decoded with probability {float(row['cut_probability']):.2f}"
        cards.append(ShownClip(item, str(row["stimulus_id"]), told, tuple(films)))
    many = f"{len(shown)} of {len(clips)} clips, spread evenly." if len(shown) < len(clips) else ""
    what = (
        "Shown and decoded play side by side, by one clock."
        if stimuli and (table["truth"] != UNKNOWN).any()
        else "What was decoded."
    )
    config = output.run.config
    return render_video_page(
        VideoPage(
            heading=f"What sub-{run.recording.subject} watched",
            lead=f"{len(clips)} clips of {clips.length:g} s decoded from {len(run)} volumes, one "
            f"every {run.tr:g} s, by {model.name}.",
            model=model.name,
            careful=CAREFUL.format(flow=config["flow"]),
            virtual=model.name.startswith("virtual") or "virtual" in model.protocol.dataset,
            said=" ".join(part for part in (what, many) if part),
            clips=cards,
            measures=_measures(metrics),
            provenance=[
                ("model", f"{model.name} ({model.hash})"),
                ("keyframes", f"{model.picture_model}, first frame decoded"),
                ("moved by", f"{model.generator.name} {model.generator.settings}"),
                ("volumes of a clip", f"those that begin {model.timing.delay:g} s after it, for "
                 f"{model.timing.window:g} s; movie from {run.onset:g} s on"),
                ("seams", "neighbours blended, reset at cuts" if config["seams"] else "as decoded"),
                ("clips left out", f"{clips.n_left_out}, whose volumes the run does not have"),
                ("trained on", f"{model.protocol.dataset} ({model.protocol.dataset_hash})"),
                ("normalisation", f"{model.protocol.normalisation}: fitted on "
                 f"{model.protocol.normalisation_fitted_on}"),
                ("seed", str(config["seed"])),
                ("input", output.run.input_hash),
                ("versions", ", ".join(f"{k} {v}" for k, v in output.run.versions.items())),
            ],
        )
    )  # fmt: skip


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
