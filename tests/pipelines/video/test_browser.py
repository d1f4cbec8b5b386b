"""Films of the report in a real browser: they decode, play, keep time, and nothing is fetched."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from phosphene.data.movies import write_movie
from phosphene.pipelines.video.report import ShownClip, VideoPage, film_of, render_video_page

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
    "--autoplay-policy=no-user-gesture-required", "--allow-file-access-from-files",
)  # fmt: skip
LOOK = """
<!doctype html><meta charset="utf-8"><body><script>
const pause = (time) => new Promise((done) => setTimeout(done, time));
(async () => {
  const frame = document.createElement("iframe");
  frame.style.cssText = "border:0;width:375px;height:800px";
  frame.src = "page.html";
  document.body.append(frame);
  await new Promise((done) => frame.addEventListener("load", done));
  const inside = frame.contentDocument, view = frame.contentWindow;
  const films = [...inside.querySelectorAll("video")];
  for (let wait = 0; wait < 100 && films.some((f) => f.readyState < 2); wait++) await pause(100);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (film) => {
    canvas.drawImage(film, 0, 0, 4, 4);
    return [...canvas.getImageData(1, 1, 1, 1).data].slice(0, 3);
  };
  const seen = { ready: films.map((f) => f.readyState) };
  seen.errors = films.map((f) => f.error && f.error.message);
  seen.sizes = films.map((f) => [f.videoWidth, f.videoHeight]);
  seen.duration = films.map((f) => f.duration);
  const before = films.map((f) => f.currentTime);
  await pause(700);
  seen.moved = films.map((f, k) => f.currentTime !== before[k]);
  seen.paused = films.map((f) => f.paused);
  inside.getElementById("play").click();
  await pause(50);
  seen.stopped = films.map((f) => f.paused);
  for (const film of films) {
    film.currentTime = 1.5;
    await Promise.race([new Promise((done) => film.addEventListener("seeked", done)), pause(1500)]);
  }
  // A busy machine may paint the frame later than it says that it has found it.
  const dark = (film) => film.seeking || Math.max(...colour(film)) < 100;
  for (let wait = 0; wait < 50 && films.some(dark); wait++) await pause(100);
  seen.colours = films.map(colour);
  seen.wide = inside.documentElement.scrollWidth;
  seen.fetched = view.performance.getEntriesByType("resource").map((e) => e.name.slice(0, 30))
    .filter((name) => !name.startsWith("data:"));
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
})();
</script></body>
"""


def test_both_films_play_side_by_side(tmp_path: Path) -> None:
    films = []
    for words, colour in (("shown", (200, 40, 40)), ("decoded", (40, 40, 200))):
        frames = np.broadcast_to(np.array(colour, np.uint8), (16, 64, 64, 3)).copy()
        frames[:8] = 20  # dark in the first second
        write_movie(tmp_path / f"{words}.mp4", frames, 8.0)
        films.append(film_of(tmp_path / f"{words}.mp4", words, (64, 64)))
    page = VideoPage(
        heading="What sub-01 watched", lead="One clip.", model="virtual-video", careful="Careful.",
        virtual=True, said="Side by side.", clips=[ShownClip(0, "film", "", tuple(films))],
        measures=[["video-ssim/strict-v1", *["0.123"] * 6]], provenance=[("model", "x" * 90)],
    )  # fmt: skip
    (tmp_path / "page.html").write_text(render_video_page(page), encoding="utf-8")
    (tmp_path / "look.html").write_text(LOOK, encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--timeout=15000",
            "--virtual-time-budget=15000", "--dump-dom", (tmp_path / "look.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["errors"] == [None, None]
    assert min(seen["ready"]) >= 2
    assert seen["sizes"] == [[64, 64], [64, 64]]
    assert seen["duration"] == [2.0, 2.0]
    assert seen["paused"] == [False, False]
    assert seen["stopped"] == [True, True]
    np.testing.assert_allclose(seen["colours"], [(200, 40, 40), (40, 40, 200)], atol=12)
    assert seen["wide"] <= 375
    assert seen["fetched"] == []
    assert "violates" not in done.stderr
