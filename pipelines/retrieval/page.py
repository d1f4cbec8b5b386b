"""The report of a retrieval: one self-contained page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import phosphene
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.names import require

__all__ = ["MAX_QUERIES", "render_retrieval"]

MAX_QUERIES, SIDE = 60, 160


def render_retrieval(
    queries: Sequence[tuple[str, Pictures | None]],
    found: Sequence[Sequence[dict[str, Any]]],
    *,
    n: int,
    provenance: Sequence[tuple[str, str]],
    sure: Mapping[str, str] | None = None,
) -> str:
    """Return the page as text.

    Parameters
    ----------
    queries : sequence of (name, picture or None)
    found : sequence of sequences of dict
        For each query, best first: ``rank``, ``score``, ``id``, ``caption``, ``picture``.
    n : int
        Pictures in the index.
    provenance : sequence of (key, value)
    sure : mapping of str to str, optional
        For a query's name, how probable it is that its picture was found.
    """
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = files("phosphene.pipelines.retrieval").joinpath("page.html.j2").read_text("utf-8")
    rows = [
        {
            "name": name,
            "sure": (sure or {}).get(name, ""),
            "picture": _address(picture),
            "found": [
                one | {"picture": _address(one["picture"]), "score": f"{one['score']:.3f}"}
                for one in mine
            ],
        }
        for (name, picture), mine in zip(queries[:MAX_QUERIES], found, strict=False)
    ]
    page: str = environment.from_string(source).render(
        rows=rows, total=len(queries), n=n, provenance=provenance, version=phosphene.__version__
    )
    return page


def _address(picture: Pictures | None) -> str:
    """Return a picture as a data address, so that the page needs no other file."""
    from PIL import Image

    if picture is None:
        return ""
    buffer = io.BytesIO()
    fitted = fit_pictures([picture], size=SIDE, channels=3)[0]
    Image.fromarray(fitted).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
