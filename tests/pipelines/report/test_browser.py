"""The page in a real browser: nothing overflows, fails, or is fetched; its controls work.

The page runs in a frame of the width of a phone, a tablet or a desk; a script beside the frame
looks into it and writes down what it sees. Where no Chromium is installed these tests skip.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.pipelines.report import Retrieved, render_content
from phosphene.pipelines.report.brain_map import BrainMap, draw_slices
from phosphene.pipelines.report.content import Curve, CurvePoint, SubjectTable
from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction
from phosphene.types import VoxelSpace

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
]
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
SIZES = ((375, 800), (1024, 768), (1600, 1000))
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"

LOOK = """
<!doctype html><meta charset="utf-8"><body><script>
const seen = {};
const pause = (time) => new Promise((done) => setTimeout(done, time));
const order = (inside) =>
  [...inside.querySelectorAll("#grid > li")].map((card) => +card.dataset.item);
async function look(width, height) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border:0;width:${width}px;height:${height}px`;
  frame.src = "page.html";
  document.body.append(frame);
  await new Promise((done) => frame.addEventListener("load", done));
  const inside = frame.contentDocument, view = frame.contentWindow, root = inside.documentElement;
  const found = { width: view.innerWidth, client: root.clientWidth, scroll: root.scrollWidth };
  const beyond = (one) => one.getBoundingClientRect().right > view.innerWidth + 0.5;
  found.wider = [...inside.body.querySelectorAll("*")]
    .filter((one) => !one.closest(".wide") && beyond(one))
    .map((one) => one.tagName + "." + one.className);
  const images = [...inside.images];
  found.fetched = view.performance.getEntriesByType("resource").map((entry) => entry.name);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const fails = (image) => {
    if (!image.complete || !image.naturalWidth) return true;
    canvas.drawImage(image, 0, 0, 4, 4); // decodes it, or throws
    return canvas.getImageData(0, 0, 1, 1).data[3] !== 255;
  };
  found.images = images.length;
  found.broken = images.filter(fails).length;
  found.flat = images.filter((image) => !image.clientWidth).length;
  found.tools = !inside.getElementById("tools").hidden;
  found.first = order(inside);
  const select = inside.getElementById("order");
  for (const choice of ["rank down", "item up"]) {
    select.value = choice;
    select.dispatchEvent(new view.Event("change"));
    found[choice] = order(inside);
  }
  const size = inside.getElementById("size"), card = inside.querySelector("#grid > li");
  found.small = card.clientWidth;
  size.value = 4;
  size.dispatchEvent(new view.Event("input"));
  found.large = card.clientWidth;
  const figure = inside.querySelector("#grid figure"), link = figure.querySelector("a.open");
  link.click();
  await pause(50);
  found.zoomed = view.getComputedStyle(figure).position === "fixed";
  found.zoom_width = figure.getBoundingClientRect().width;
  inside.dispatchEvent(new view.KeyboardEvent("keydown", { key: "ArrowRight" }));
  await pause(50);
  found.next = inside.querySelector("#grid figure:target").id;
  inside.dispatchEvent(new view.KeyboardEvent("keydown", { key: "Escape" }));
  await pause(50);
  found.closed = inside.querySelector("#grid figure:target") === null;
  frame.remove();
  return found;
}
(async () => {
  for (const [width, height] of SIZES) seen[width] = await look(width, height);
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
})();
</script></body>
"""


def browse(address: Path, profile: Path, *more: str) -> tuple[str, str]:
    """Run the browser with a new profile; return what it prints and what it logs."""
    done = subprocess.run(
        [str(BROWSER), *QUIET, f"--user-data-dir={profile}", *more, address.as_uri()],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def page(make: Any) -> str:
    """A page with every section, long names among them, of virtual data."""
    names = ["a-very-long-name-" * 6, "two words", *(f"scene-{row:03d}" for row in range(22))]
    result = make(24, 2, names=names, model="virtual-made-up-" + "x" * 60)
    found = [Retrieved(3, list(result.truth[:8]), names[:8], [False] * 3 + [True] + [False] * 4)]
    content = content_of_reconstruction(result, retrieved=found)
    points = [CurvePoint(n, 0.5 + n / 20, (0.45 + n / 20, 0.55 + n / 20)) for n in (1, 2, 3)]
    content.curves = [Curve("Two-way identification", points, 0.5)]
    columns = [f"A metric with a long name {number}" for number in range(9)]
    content.subjects = SubjectTable(columns, [(f"sub-0{n}", ["0.500"] * 9) for n in (1, 2)])
    content.absent = [("dreamsim/v1", "the Python package dreamsim is not installed")]
    space = VoxelSpace((9, 12, 8), np.arange(9 * 12 * 8), np.diag([3.0, 3.0, 3.0, 1.0]))
    slices = draw_slices(space, np.linspace(0, 1, space.n_voxels), 1.0)
    content.brain = BrainMap("01", slices, ("#440154", "#fde725"), 1.0, "Norm of weights")
    return render_content(content)


@pytest.fixture(scope="module")
def visit(page: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What the script sees at every size, and the browser's log."""
    root = tmp_path_factory.mktemp("visit")
    (root / "page.html").write_text(page, encoding="utf-8")
    (root / "look.html").write_text(LOOK.replace("SIZES", json.dumps(SIZES)), encoding="utf-8")
    dom, log = browse(
        root / "look.html", root / "profile", "--virtual-time-budget=20000",
        "--window-size=1700,1100", "--allow-file-access-from-files", "--dump-dom",
    )  # fmt: skip
    seen = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert seen is not None, log[-2000:]
    return json.loads(html.unescape(seen[1])), log


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_is_wider_than_the_window(visit: Any, width: int, height: int) -> None:
    found = visit[0][str(width)]
    assert found["width"] == width
    assert found["scroll"] <= found["client"] <= width
    assert found["wider"] == []


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_picture_is_decoded_and_has_a_size(visit: Any, width: int, height: int) -> None:
    found = visit[0][str(width)]
    assert found["images"] > 24 * 3
    assert found["broken"] == found["flat"] == 0


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_controls_work(visit: Any, width: int, height: int) -> None:
    found = visit[0][str(width)]
    assert found["tools"]
    assert sorted(found["first"]) == list(range(24))
    assert found["first"] != list(range(24))
    assert found["rank down"] == found["first"][::-1]
    assert found["item up"] == list(range(24))
    assert found["large"] >= found["small"]
    assert found["zoomed"]
    assert found["zoom_width"] == found["client"]
    assert found["next"] == "zoom-1"
    assert found["closed"]


def test_the_console_is_silent_and_nothing_is_fetched(visit: Any) -> None:
    said = [line for line in visit[1].splitlines() if "CONSOLE" in line]
    assert said == []  # a fetch that the page's own policy stops is said here
    assert [found["fetched"] for found in visit[0].values()] == [[], [], []]


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_the_page_is_drawn_in_both_schemes(page: str, tmp_path: Path, scheme: str) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    shot = tmp_path / "shot.png"
    browse(
        tmp_path / "page.html", tmp_path / "profile", scheme, "--window-size=1024,768",
        "--virtual-time-budget=4000", f"--screenshot={shot}",
    )  # fmt: skip
    pixels = np.asarray(Image.open(shot).convert("L")).astype(int)
    assert pixels.shape == (768, 1024)
    background, ink = np.median(pixels), np.percentile(pixels, [0.1, 99.9])
    assert (background < 60) == (scheme == DARK)
    assert np.abs(ink - background).max() > 120  # there is something to read


def test_the_page_prints(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    paper = tmp_path / "page.pdf"
    browse(
        tmp_path / "page.html", tmp_path / "profile", DARK, "--virtual-time-budget=4000",
        "--no-pdf-header-footer", f"--print-to-pdf={paper}",
    )  # fmt: skip
    data = paper.read_bytes()
    assert data.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 8
