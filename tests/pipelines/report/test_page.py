"""The page says what was found, nothing else, and needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.pipelines.report import Retrieved, render_content, render_report
from phosphene.pipelines.report.content import Curve, CurvePoint, SubjectTable
from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction

Array = np.ndarray[Any, Any]


class Elements(HTMLParser):
    """Every element with its attributes, and the visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._hidden = tag if tag in ("style", "script", "title") else ""

    def handle_endtag(self, tag: str) -> None:
        self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def pictures(page: str) -> list[Array]:
    found = re.findall(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_the_page_is_well_formed_and_names_everything(make: Any) -> None:
    page = render_report(make(9))
    elements = Elements(page)
    assert page.startswith("<!doctype html>")
    assert elements.all("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(one["href"]) for one in elements.all("a")}
    assert links <= {f"#{name}" for name in ids}
    for image in elements.all("img"):
        assert image["alt"]
    levels = [int(name[1]) for name, _ in elements.found if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_page_needs_no_other_file(make: Any) -> None:
    page = render_report(make(9))
    elements = Elements(page)
    assert "http:" not in page
    assert "https:" not in page
    assert not elements.all("link")
    assert all(str(image["src"]).startswith("data:image/") for image in elements.all("img"))
    policy = next(
        str(one["content"])
        for one in elements.all("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    # Nothing inline that such a policy would stop.
    assert not any(name in ("style", "onclick") for _, one in elements.found for name in one)


def test_items_stand_in_the_order_of_their_rank(make: Any) -> None:
    result = make(9)
    content = content_of_reconstruction(result)
    assert content.ranking is not None
    elements = Elements(render_content(content))
    cards = [one for one in elements.all("li") if "data-item" in one]
    assert [int(str(one["data-item"])) for one in cards] == list(content.ranking.order)
    assert [one["data-rank"] for one in cards] == [str(rank) for rank in range(1, 10)]
    assert content.ranking.order[0] == 0  # no noise was added to the first
    text = elements.text
    assert "Best, median, worst" in text
    assert "median rank 5, worst rank 9: a rule, not a choice" in text


def test_every_number_stands_beside_its_controls(make: Any) -> None:
    result = make(9)
    text = Elements(render_report(result)).text
    assert result.metrics is not None
    for metric in result.metrics.metrics:
        assert metric.id in text
        assert f"{metric.value:.3f}" in text
        assert metric.interval is not None
        assert f"[{metric.interval[0]:.3f} to {metric.interval[1]:.3f}]" in text
        for value in (metric.chance, *metric.baselines.values()):
            assert value is not None
            assert f"{value:.3f}" in text
    for words in ("Wrong pairing", "Grey picture", "Mean training picture"):
        assert words in text


def test_names_cannot_write_into_the_page(make: Any) -> None:
    names = ['<script>alert("1")</script>', '"><img src=x onerror=alert(1)>', "a&b", "plain"] * 2
    page = render_report(make(8, names=names))
    assert "<script>alert" not in page
    assert "onerror=alert(1)>" not in page.replace("&gt;", ">") or "&#34;&gt;&lt;img" in page
    elements = Elements(page)
    assert len(elements.all("script")) == 1
    assert all("onerror" not in one for _, one in elements.found)
    assert names[0] in elements.text


def test_without_stimuli_neither_shown_pictures_nor_their_names_are_there(make: Any) -> None:
    names = [f"secret-name-{row}" for row in range(9)]
    result = make(9, 2, names=names)
    result.images[0] //= 2  # a perfect reconstruction would be no leak
    found = [Retrieved(0, [result.truth[1]], ["secret-name-1"], [False])]
    with_stimuli = render_report(result, retrieved=found)
    without = render_report(result, stimuli=False, retrieved=found)
    assert any(np.array_equal(one, result.truth[4]) for one in pictures(with_stimuli))
    assert "secret-name-1" in with_stimuli
    kept = pictures(without)
    assert len(kept) == 18
    for shown in result.truth:
        buffer = io.BytesIO()
        Image.fromarray(shown).save(buffer, format="PNG")
        assert base64.b64encode(buffer.getvalue()).decode()[40:400] not in without
        assert not any(np.array_equal(one, shown) for one in kept)
    assert "secret" not in without
    assert "not part of this page" in Elements(without).text


def test_a_perfect_decoder_is_the_only_way_a_shown_picture_gets_in(make: Any) -> None:
    result = make(7)
    result.images[:] = 0
    page = render_report(result, stimuli=False)
    assert all(not one.any() for one in pictures(page))


def test_virtual_data_are_called_so(make: Any) -> None:
    assert "virtual" not in Elements(render_report(make(3))).text.lower()
    text = Elements(render_report(make(3, model="virtual-fmri"))).text
    assert "virtual data" in text
    assert "Decoded from virtual sub-01" in text
    assert "Nothing here is about people" in text


def test_the_grid_of_virtual_subjects_is_known_whatever_names_say(make: Any) -> None:
    from phosphene.data.virtual import VirtualSubject

    protocol = make(3).provenance.protocol
    space = VirtualSubject("02").space
    mask = f"{space.describe()} (voxels {space.hash})"
    text = Elements(
        render_report(make(3, protocol=protocol.model_copy(update={"mask": mask})))
    ).text
    assert "virtual data" in text


def test_borrowed_detail_is_told_beside_the_pictures(make: Any) -> None:
    borrowed = make(config={"subject": "01", "detail": 4.0}).to_html()
    assert "Detail finer than 4 pixels is borrowed from training pictures." in borrowed
    assert "borrowed" not in make(config={"subject": "01", "detail": 0.0}).to_html()


def test_pictures_from_training_are_told_first(make: Any) -> None:
    result = make(8)
    assert result.metrics is not None
    result.metrics = result.metrics.model_copy(update={"n_seen_in_training": 3})
    text = Elements(render_report(result)).text
    assert text.index("Careful: 3 of 8 items") < text.index("Best, median, worst")


def test_without_truth_there_are_pictures_and_no_numbers(make: Any) -> None:
    elements = Elements(render_report(make(5, 2, truth=False)))
    assert len(elements.all("img")) == 10
    assert "No numbers were computed" in elements.text
    assert "Best, median, worst" not in elements.text


def test_several_samples_stand_side_by_side_and_no_more_than_four(make: Any) -> None:
    elements = Elements(render_report(make(2, 6)))
    alts = [str(image["alt"]) for image in elements.all("img")][:5]
    assert alts == ["shown: scene-000"] + [f"decoded {n}: scene-000" for n in (1, 2, 3, 4)]
    assert "The first 4 of 6 samples." in elements.text


@pytest.mark.slow
def test_a_thousand_large_items_make_a_page_of_a_few_megabytes(make: Any) -> None:
    result = make(1000, 1, 64, scored=False)
    scores = np.random.default_rng(1).uniform(size=1000).tolist()
    measured = make(8).metrics
    result.metrics = measured.model_copy(update={"per_item": {"pixcorr/strict-v1": scores}})
    page = render_report(result)
    assert len(page) < 4_000_000
    elements = Elements(page)
    cards = [one for one in elements.all("li") if "data-item" in one]
    assert 115 <= len(cards) <= 120
    ranks = [int(str(one["data-rank"])) for one in cards]
    assert ranks == sorted(ranks)
    assert (ranks[0], ranks[-1]) == (1, 1000)
    assert 500 in ranks  # the median stands among them
    assert f"{len(cards)} of 1,000 items, spread evenly over the ranks." in elements.text


def test_curves_subjects_searches_and_what_is_absent_have_their_place(make: Any) -> None:
    result = make(8)
    found = Retrieved(2, list(result.truth[:3]), ["a", "b", "c"], [False, False, True])
    content = content_of_reconstruction(result, retrieved=[found])
    content.curves = [Curve("Identification", [CurvePoint(1, 0.6), CurvePoint(3, 0.8)], 0.5)]
    content.subjects = SubjectTable(["PixCorr"], [("sub-01", ["0.500"]), ("sub-02", ["0.400"])])
    content.absent = [("dreamsim/v1", "the package is not installed")]
    elements = Elements(render_content(content))
    for words in (
        "Repetitions", "1: 0.600, 3: 0.800", "Subjects", "sub-02 0.400", "Found by searching",
        "Not computed", "the package is not installed",
    ):  # fmt: skip
        assert words in elements.text
    alts = [str(image["alt"]) for image in elements.all("img")]
    assert "3. found: c, the shown picture" in alts


def test_paths_of_the_machine_stay_out(make: Any) -> None:
    page = render_report(make(3, config={"subject": "01", "input": "/archive/lab/scans/x.nii.gz"}))
    assert "/archive/lab" not in page
    assert "input x.nii.gz" in page
