"""The page: what was shown beside what was decoded, the numbers, and how they came about."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import phosphene
from phosphene.names import require
from phosphene.pipelines.report.cards import Gallery, build_gallery
from phosphene.pipelines.report.content import (
    WRONG_PAIRING,
    Content,
    Retrieved,
)
from phosphene.pipelines.report.panels import curve_plot, panel

if TYPE_CHECKING:
    from phosphene.pipelines.reconstruction import Reconstruction

__all__ = ["ranking_rule", "render_content", "render_report"]


def render_report(
    result: Reconstruction,
    *,
    stimuli: bool = True,
    retrieved: Sequence[Retrieved] = (),
    model: str | None = None,
) -> str:
    """Return the page of a run as text.

    Parameters
    ----------
    result : Reconstruction
    stimuli : bool
        False keeps the pictures that were shown, and their names, out of the page.
    retrieved : sequence of Retrieved
        What a search found for some of the items.
    model : str, optional
        Where the model lies, for the map of voxels; by default where the run found it.
    """
    from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction

    return render_content(
        content_of_reconstruction(result, stimuli=stimuli, retrieved=retrieved, model=model)
    )


def render_content(content: Content) -> str:
    """Return the page as text."""
    jinja2 = require("jinja2", "report")
    folder = files("phosphene.pipelines.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    markup = require("markupsafe", "report").Markup
    own = {
        name: folder.joinpath(f"{name}.html.j2").read_text("utf-8") for name in ("style", "script")
    }
    gallery = build_gallery(content)
    page: str = environment.get_template("page.html.j2").render(
        content=content,
        gallery=gallery,
        version=phosphene.__version__,
        headline=_headline(content),
        panels=[panel(measure) for measure in content.measures],
        curves=[curve_plot(curve) for curve in content.curves],
        rule=ranking_rule(content),
        orders=_orders(content),
        pictures_said=_pictures_said(content, gallery),
        parts=_parts(content, gallery),
        **{name: markup(text) for name, text in own.items()},
        **{f"{name}_hash": _content_hash(text) for name, text in own.items()},
    )
    return page.lstrip()


def _content_hash(text: str) -> str:
    """Return what a content security policy allows this very text by."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _headline(content: Content) -> str:
    """Return the first identification score as a sentence."""
    for measure in content.measures:
        if not measure.identifies or measure.value is None:
            continue
        chance, known = measure.controls.get(WRONG_PAIRING), []
        if measure.interval is not None:
            low, high = (round(100 * bound) for bound in measure.interval)
            known.append(f"95\u00a0% interval {low} to {high}")
        if chance is not None:
            known.append(f"chance {100 * chance:.0f}")
        inside = f" ({'; '.join(known)})" if known else ""
        share = f"{100 * measure.value:.0f}\u00a0%"
        return f"What was shown is told from another picture in {share} of comparisons{inside}."
    return ""


def ranking_rule(content: Content) -> str:
    """Return the rule by which best, median and worst were found."""
    ranking = content.ranking
    if ranking is None:
        return ""
    n = len(ranking.order)
    ties = f"{content.name_of(ranking.ties)}, then by " if ranking.ties else ""
    return (
        f"Ranked by {content.name_of(ranking.metric)} [{ranking.metric}]; ties go by {ties}"
        f"the order of the items. Best is rank 1, median rank {(n - 1) // 2 + 1}, worst rank {n}: "
        "a rule, not a choice."
    )


def _orders(content: Content) -> list[tuple[str, str]]:
    """Return what the grid can be sorted by, as the script reads it."""
    found = [("item up", "as recorded")]
    if content.ranking is not None:
        found = [("rank up", "best first"), ("rank down", "worst first"), *found]
    higher = {measure.id: measure.higher_is_better for measure in content.measures}
    for place, metric in enumerate(content.scores):
        direction = "down" if higher.get(metric, True) else "up"
        found.append((f"s{place} {direction}", f"{content.name_of(metric)}, best first"))
    return found


def _pictures_said(content: Content, gallery: Gallery) -> str:
    """Say what the grid shows, how many of how many, and what was done to the pictures."""
    n, shown = len(content), len(gallery.cards)
    if not shown:
        return "No pictures are to be had."
    said = []
    if content.truth is not None:
        said.append("In each group the shown picture stands first, what was decoded after it.")
    elif not content.stimuli:
        said.append("What was decoded; the pictures that were shown are not part of this page.")
    if content.ranking is not None:
        what = "From best to worst"
        if content.ranked_by is not None and content.ranked_by.identifies:
            what += "; per cent are comparisons won"
        said.append(f"{what}.")
    if shown < n:
        how = "spread evenly over the ranks" if content.ranking else "the first as recorded"
        said.append(f"{shown:,} of {n:,} items, {how}.")
    samples = max((len(content.images[card.item]) for card in gallery.cards), default=0)
    frames = max((len(card.frames) for card in gallery.cards), default=0)
    kept = frames - int(content.truth is not None)
    if kept < samples:
        said.append(f"The first {kept} of {samples} samples.")
    if gallery.note:
        said.append(f"Pictures are {gallery.note}; the files beside this page are whole.")
    return " ".join([*said, "A picture opens larger."])


def _parts(content: Content, gallery: Gallery) -> list[tuple[str, str]]:
    """Return anchors and words of the sections that this page has."""
    parts = [
        ("examples", "Examples", bool(gallery.exemplars)),
        ("numbers", "Numbers", bool(content.measures)),
        ("pictures", "Pictures", True),
        ("repetitions", "Repetitions", bool(content.curves)),
        ("subjects", "Subjects", content.subjects is not None),
        ("search", "Search", bool(gallery.searches)),
        ("brain", "Brain", content.brain is not None or bool(content.brain_missing)),
        ("overlap", "Overlap", bool(content.audit)),
        ("training", "Training", bool(content.protocol)),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, words) for anchor, words, there in parts if there]
