"""The figure shows the items that the rule names, and the table every number."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.report import (
    check_figure_path,
    markdown_table,
    render_figure,
    write_figure,
)
from phosphene.pipelines.report.figure import figure_caption, figure_columns
from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction
from phosphene.schemas import WithinCategory

Array = np.ndarray[Any, Any]


def flat_colours(make: Any, n: int, **changes: Any) -> Any:
    """A result whose pictures are flat: red for shown, green for decoded, the item in the blue."""
    result = make(n, **changes)
    for item in range(n):
        result.truth[item] = (255, 0, 10 * item)
        result.images[item] = (0, 255, 10 * item)
    return result


def colours(picture: bytes, red: int, green: int) -> list[int]:
    """Return the blue of pictures of a colour, from left to right."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    hit = (pixels[..., 0] == red) & (pixels[..., 1] == green) & (pixels[..., 2] < 240)
    row = np.flatnonzero(hit.any(axis=1))
    middle = int((row[0] + row[-1]) / 2)
    blues = pixels[middle, hit[middle], 2]
    kept = np.r_[True, np.diff(blues) != 0]
    return [round(int(blue) / 10) for blue in blues[kept]]


def test_shown_stands_above_decoded_in_the_order_of_the_rule(make: Any) -> None:
    result = flat_colours(make, 12)
    content = content_of_reconstruction(result)
    assert content.ranking is not None
    expected = [item for _, items in figure_columns(content) for item in items]
    order = content.ranking.order
    assert expected == [*order[:3], *order[4:7], *order[9:]]
    picture = render_figure(content, "png")
    assert colours(picture, 255, 0) == expected
    assert colours(picture, 0, 255) == expected
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    shown, decoded = (
        np.flatnonzero(((pixels[..., 0] == r) & (pixels[..., 1] == g)).any(axis=1))
        for r, g in ((255, 0), (0, 255))
    )
    assert shown.max() < decoded.min()


def test_the_caption_states_the_rule_and_what_has_to_be_known(make: Any) -> None:
    caption = figure_caption(content_of_reconstruction(make(12, model="virtual-fmri")))
    for words in (
        "Shown above, decoded below", "Virtual data", "The 3 best, the 3 around the median and "
        "the 3 worst items of 12", "two-way-pixels/strict-v1", "a rule, not a choice",
        "wrong pairing 0.500",
    ):  # fmt: skip
        assert words in caption
    result = make(4)
    result.metrics = result.metrics.model_copy(update={"n_seen_in_training": 2})
    caption = figure_caption(content_of_reconstruction(result))
    assert "The best, the median and the worst item of 4" in caption
    assert "2 of 4 items show pictures that the model was trained on" in caption


def test_without_stimuli_no_shown_picture_is_drawn(make: Any) -> None:
    content = content_of_reconstruction(flat_colours(make, 9), stimuli=False)
    pixels = np.asarray(Image.open(io.BytesIO(render_figure(content, "png"))).convert("RGB"))
    assert not ((pixels[..., 0] == 255) & (pixels[..., 1] == 0)).any()
    assert ((pixels[..., 0] == 0) & (pixels[..., 1] == 255)).any()
    assert b"secret" not in render_figure(content, "svg")


def test_without_truth_the_first_items_are_drawn_in_their_order(make: Any) -> None:
    content = content_of_reconstruction(make(20, truth=False))
    assert figure_columns(content) == [("first items", list(range(9)))]
    assert "the first items in their order" in figure_caption(content)
    assert render_figure(content, "png")


@pytest.mark.parametrize(
    ("kind", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89P")]
)
def test_kinds_of_files(make: Any, tmp_path: Any, kind: str, start: bytes) -> None:
    content = content_of_reconstruction(make(3))
    path = write_figure(tmp_path / f"figure.{kind}", content)
    data = path.read_bytes()
    assert data.startswith(start)
    assert data == render_figure(content, kind)  # the same again, to the last byte
    if kind == "pdf":
        assert b"/Type3" not in data.replace(b" ", b"")  # publishers refuse fonts of type 3


def test_other_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"fig\.gif is to end in \.gif"):
        check_figure_path("fig.gif")


def test_pictures_that_are_gone_are_told(make: Any) -> None:
    content = content_of_reconstruction(make(3))
    content.images = [[], [], []]
    with pytest.raises(InputError, match="not where they were"):
        render_figure(content, "png")


def test_the_table_has_every_number_beside_its_controls(make: Any) -> None:
    result = make(8)
    assert result.metrics is not None
    lines = markdown_table(content_of_reconstruction(result)).splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    head, rule, *body = rows
    assert head == [
        "Metric", "Score [95 % interval]", "p", "Wrong pairing", "Grey picture",
        "Mean training picture", "Items",
    ]  # fmt: skip
    assert rule == ["---", *["---:"] * 6]
    assert len({len(row) for row in rows}) == 1
    for metric, row in zip(result.metrics.metrics, body, strict=True):
        assert metric.interval is not None
        assert f"`{metric.id}`" in row[0]
        assert row[0].endswith("↑" if metric.higher_is_better else "↓")
        numbers = [float(part) for part in re.findall(r"-?\d[\d.e-]*", row[1])]
        assert numbers == pytest.approx([metric.value, *metric.interval], abs=6e-4)
        assert row[2].startswith((".", "<", "1"))
        assert float(row[3]) == pytest.approx(metric.chance, abs=6e-4)
        assert float(row[5]) == pytest.approx(metric.baselines["mean_picture"], abs=6e-4)
        assert row[6] == "8"


def test_the_table_tells_categories_where_they_are_known(make: Any) -> None:
    result = make(6)
    assert result.metrics is not None
    inside = WithinCategory(value=0.512, interval=None, chance=0.5, n_items=6, collapsed=False)
    metrics = [
        one.model_copy(update={"within_category": inside if "two-way" in one.id else None})
        for one in result.metrics.metrics
    ]
    result.metrics = result.metrics.model_copy(update={"metrics": metrics})
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown_table(content_of_reconstruction(result)).splitlines()
        if line[:1] == "|"
    ]
    column = rows[0].index("Within category")
    assert [row[column] for row in rows[2:]] == [
        "0.512" if "two-way" in one.id else "–" for one in metrics
    ]


def test_the_table_carries_what_has_to_be_known(make: Any) -> None:
    result = make(5, side=6, model="virtual-fmri")  # too small for structural similarity
    result.metrics = result.metrics.model_copy(update={"n_seen_in_training": 5})
    table = markdown_table(content_of_reconstruction(result))
    assert "**Virtual data**" in table
    assert "5 of 5 items show pictures that the model was trained on" in table
    assert "95 % percentile bootstrap over pictures" in table
    assert "Structural similarity (SSIM): " in table
