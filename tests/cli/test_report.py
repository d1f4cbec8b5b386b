"""``phosphene report``: what it writes, and what it refuses before writing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def finished(toy: Any, model: Path, decode: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    decode(
        toy.file("test.npy"), model, out, "--trials", toy.file("test.tsv"), "--truth",
        toy.file("stimuli"),
    ).succeeds()  # fmt: skip
    return out


def test_the_page_of_a_run_is_written_again_to_the_last_byte(finished: Path, cli: Any) -> None:
    page = finished / "report.html"
    before = page.read_bytes()
    page.unlink()
    done = cli("report", finished).succeeds()
    assert done.out.splitlines()[-1] == f"report: {page}"
    assert page.read_bytes() == before


def test_figure_and_table(finished: Path, cli: Any, tmp_path: Path) -> None:
    figure, table = tmp_path / "figure.pdf", tmp_path / "table.md"
    done = cli("report", finished, "--figure", figure, "--markdown", table).succeeds()
    assert done.out.splitlines() == [
        f"figure: {figure}", f"table: {table}", f"report: {finished / 'report.html'}",
    ]  # fmt: skip
    assert figure.read_bytes().startswith(b"%PDF")
    assert table.read_text().startswith("| Metric | Score [95 % interval] | p | Wrong pairing |")


def test_no_stimuli_holds_for_everything_that_is_written(
    finished: Path, cli: Any, tmp_path: Path
) -> None:
    figure, table = tmp_path / "figure.svg", tmp_path / "table.md"
    words = ("--no-stimuli", "--figure", figure, "--markdown", table)
    cli("report", finished, *words).succeeds()
    for path in (figure, table, finished / "report.html"):
        assert "scene-" not in path.read_text()
    cli("report", finished).succeeds()
    assert "scene-" in (finished / "report.html").read_text()


def test_wrong_use_writes_nothing(finished: Path, cli: Any, tmp_path: Path) -> None:
    before = (finished / "report.html").read_bytes()
    cli("report", finished, "--figure", tmp_path / "f.gif", "--no-stimuli").refuses(
        2, "f.gif", ".pdf, .png, .svg", "f.pdf"
    )
    cli("report", finished, "--model", tmp_path / "no").refuses(4, "there is no model folder")
    cli("report", tmp_path).refuses(3, "not a finished output folder")
    assert (finished / "report.html").read_bytes() == before
