"""Which pictures a page shows, in which order, and what stands below them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from phosphene.data.pictures import Pictures
from phosphene.pipelines.report.content import Content, Retrieved
from phosphene.pipelines.report.panels import number
from phosphene.pipelines.report.thumbnails import encode_pictures

__all__ = ["MAX_ITEMS", "MAX_SAMPLES", "Card", "Frame", "Gallery", "Search", "build_gallery"]

MAX_ITEMS, MAX_SAMPLES, MAX_SEARCHES, MAX_HITS = 120, 4, 12, 10
FEW = 6  # with fewer items the grid itself shows best, median and worst
SHARP = 96  # pictures of a side up to this are enlarged pixel by pixel


@dataclass(frozen=True)
class Frame:
    """One picture of a card."""

    words: str
    address: str


@dataclass(frozen=True)
class Card:
    """One item: its frames (shown, then decoded), its name, rank and scores."""

    item: int
    label: str
    rank: int | None
    score: str
    scaling: str
    frames: tuple[Frame, ...]
    sort: tuple[tuple[str, str], ...]
    before: int = 0
    after: int = 0


@dataclass(frozen=True)
class Search:
    """What a search found for one item."""

    label: str
    truth: str
    hits: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True)
class Gallery:
    """Everything of a page that has to do with pictures.

    Attributes
    ----------
    cards : list of Card
    exemplars : list of (str, Card)
        Best, median and worst; empty where there is no truth or few items.
    searches : list of Search
    note : str
        What was done to the pictures to keep the page small.
    """

    cards: list[Card]
    exemplars: list[tuple[str, Card]]
    searches: list[Search]
    note: str


def build_gallery(content: Content) -> Gallery:
    """Choose and encode the pictures of a page, all in one encoding."""
    shown = {item: _pictures_of(content, item) for item in _chosen(content)}
    found = list(content.retrieved[:MAX_SEARCHES])
    flat = [pixels for frames in shown.values() for _, pixels in frames]
    for one in found:
        flat += [*_query(content, one), *one.pictures[:MAX_HITS]]
    encoded = encode_pictures(flat)
    addresses = iter(encoded.addresses)
    cards = [_card(content, item, frames, addresses) for item, frames in shown.items()]
    cards = [
        replace(card, before=cards[place - 1].item, after=cards[(place + 1) % len(cards)].item)
        for place, card in enumerate(cards)
    ]
    searches = [_search(content, one, addresses) for one in found]
    return Gallery(cards, _exemplars(content, cards), searches, encoded.note)


def _chosen(content: Content) -> list[int]:
    """Return the items to show: all of them, or some spread evenly over the ranks."""
    ranking = content.ranking
    everything = [item for item in range(len(content)) if len(content.images[item])]
    if ranking is None:
        return everything[:MAX_ITEMS]
    kept = {item for items in ranking.exemplars().values() for item in items}
    kept |= set(ranking.spread(MAX_ITEMS if len(ranking.order) <= MAX_ITEMS else MAX_ITEMS - 1))
    ranked = [item for item in ranking.order if item in kept & set(everything)]
    unranked = sorted(set(everything) - set(ranking.order))
    return [*ranked, *unranked][:MAX_ITEMS]


def _pictures_of(content: Content, item: int) -> list[tuple[str, Pictures]]:
    samples = list(content.images[item][:MAX_SAMPLES])
    decoded = [
        (f"decoded {number}" if len(samples) > 1 else "decoded", one)
        for number, one in enumerate(samples, start=1)
    ]
    return decoded if content.truth is None else [("shown", content.truth[item]), *decoded]


def _query(content: Content, found: Retrieved) -> list[Pictures]:
    return [] if content.truth is None else [content.truth[found.item]]


def _card(
    content: Content, item: int, frames: list[tuple[str, Pictures]], addresses: Iterator[str]
) -> Card:
    ranking = content.ranking
    ranked = ranking is not None and item in ranking.order
    return Card(
        item=item,
        label=content.labels[item],
        rank=ranking.order.index(item) + 1 if ranking is not None and ranked else None,
        score=_score(content, item),
        scaling="sharp" if max(frames[0][1].shape[:2]) <= SHARP else "smooth",
        frames=tuple(Frame(words, next(addresses)) for words, _ in frames),
        sort=tuple(
            (f"s{place}", f"{value:.6g}")
            for place, values in enumerate(content.scores.values())
            if (value := values[item]) is not None
        ),
    )


def _score(content: Content, item: int) -> str:
    """Return the score that an item is ranked by, in as few words as can be."""
    if content.ranking is None:
        return ""
    value = content.scores[content.ranking.metric][item]
    if value is None:
        return "no score"
    measure = content.ranked_by
    return f"{100 * value:.0f} %" if measure and measure.identifies else number(value)


def _exemplars(content: Content, cards: list[Card]) -> list[tuple[str, Card]]:
    if content.ranking is None or content.truth is None or len(content.ranking.order) < FEW:
        return []
    known = {card.item: card for card in cards}
    if not known:
        return []
    return [
        (name.capitalize(), replace(known[items[0]], frames=known[items[0]].frames[:2]))
        for name, items in content.ranking.exemplars().items()
    ]


def _search(content: Content, found: Retrieved, addresses: Iterator[str]) -> Search:
    truth = next(addresses) if _query(content, found) else ""
    hits = [
        (name, next(addresses), correct)
        for _, name, correct in zip(
            found.pictures[:MAX_HITS], found.names, found.correct, strict=False
        )
    ]
    return Search(content.labels[found.item], truth, tuple(hits))
