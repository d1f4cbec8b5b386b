"""Tuning of later areas to what a scene contains: conjunctions, crowding, relations, layout.

Every unit multiplies tunings to different factors (shape x view x material; word x shape x
shape; layout x layout), so no linear read-out of a list of factors reproduces it, and most
factors are ones that captions never name. Units are the same in all subjects, voxels are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from phosphene.data.scenes import Scene
from phosphene.data.virtual.anatomy import Anatomy, smoothing_kernel
from phosphene.data.virtual.areas import AREA_NAMES, VERSION
from phosphene.data.virtual.content_factors import (
    LAYOUT_NAMES,
    MATERIAL_CODES,
    SHAPE_CODES,
    WORDS,
    ContentFactors,
    content_factors,
)
from phosphene.data.virtual.draws import Stream

__all__ = ["ContentTuning", "object_units", "relation_units", "scene_units", "unit_preferences"]

Array = np.ndarray[Any, Any]

N_OBJECT, N_COLOUR, N_RELATION, N_LAYOUT = 96, 32, 32, 48
KINDS = ("object", "colour", "relation", "layout")
COUNTS = dict(zip(KINDS, (N_OBJECT, N_COLOUR, N_RELATION, N_LAYOUT), strict=True))
# Which kinds of unit drive an area, with the share of each.
COMPOSITION = {
    "hV4": {"colour": 1.0},
    "LO": {"object": 0.75, "relation": 0.25},
    "face": {"object": 0.7, "relation": 0.3},
    "place": {"layout": 0.8, "relation": 0.2},
}
CLUSTER = 6.0  # mm, FWHM of patches of cortex with like tuning
CROWDING = 0.8
FLOOR = 0.02


@cache
def unit_preferences() -> dict[str, Array]:
    """Return what every unit prefers; the same for all subjects."""
    stream = Stream("virtual-fmri", VERSION, "units")
    shapes, materials = np.array(list(SHAPE_CODES.values())), np.array([*MATERIAL_CODES.values()])
    # Between two shapes that exist, so that a new shape meets units that respond to it.
    pairs = (stream.uniform(2, N_OBJECT + N_COLOUR) * len(shapes)).astype(int)
    mix = stream.uniform(N_OBJECT + N_COLOUR, 1)
    words = (stream.uniform(2, N_RELATION) * len(shapes)).astype(int)
    layout = stream.normal(4, N_LAYOUT, len(LAYOUT_NAMES))
    layout *= stream.uniform(4, N_LAYOUT, len(LAYOUT_NAMES)) < 0.15
    return {
        "shape": mix * shapes[pairs[0]] + (1 - mix) * shapes[pairs[1]],
        "material": materials[(stream.uniform(N_OBJECT) * len(materials)).astype(int)],
        "view": 2 * np.pi * stream.uniform(N_OBJECT),
        "lying": stream.uniform(N_OBJECT) < 0.5,
        "colour": stream.uniform(N_COLOUR, 3),
        "word": (stream.uniform(N_RELATION) * len(WORDS)).astype(int),
        "first": shapes[words[0]],
        "second": shapes[words[1]],
        "layout": layout[:2],
        "threshold": 0.3 * stream.normal(2, N_LAYOUT),
    }


def _near(values: Array, preferred: Array, width: float) -> Array:
    """Return Gaussian tuning (..., n_units) of points (..., d) to (n_units, d)."""
    apart = ((values[..., None, :] - preferred) ** 2).sum(axis=-1)
    tuned: Array = np.exp(-0.5 * apart / width**2).astype(np.float32)
    return tuned


def object_units(content: ContentFactors) -> tuple[Array, Array]:
    """Return shape x view x material (n, m, 96) and shape x colour units (n, m, 32) per solid."""
    preferred = unit_preferences()
    shape = _near(content.shape, preferred["shape"], 0.5)
    material = _near(content.material, preferred["material"], 0.6)
    towards = np.stack([np.cos(preferred["view"]), np.sin(preferred["view"])])
    has_view = np.linalg.norm(content.view, axis=-1, keepdims=True)
    view = np.exp(1.5 * (content.view @ towards - 1)) * has_view + 0.45 * (1 - has_view)
    pose = np.where(content.lying[..., None] == preferred["lying"], 1.0, 0.4)
    visible = content.present * (1 - 0.6 * content.covered)
    objects = shape[..., :N_OBJECT] * material * view * pose * visible[..., None]
    colour = shape[..., N_OBJECT:] * _near(content.colour, preferred["colour"], 0.35)
    return objects.astype(np.float32), (colour * visible[..., None]).astype(np.float32)


def relation_units(content: ContentFactors) -> Array:
    """Return word x shape x shape units (n, 32), summed over the pairs of solids."""
    preferred = unit_preferences()
    first = _near(content.shape, preferred["first"], 0.5) * content.present[..., None]
    second = _near(content.shape, preferred["second"], 0.5) * content.present[..., None]
    units: Array = np.einsum(
        "nuij,niu,nju->nu", content.relations[:, preferred["word"]], first, second, optimize=True
    )
    return units


def scene_units(content: ContentFactors) -> Array:
    """Return layout units (n, 48): products of two rectified views of the layout."""
    preferred = unit_preferences()
    a, b = (
        np.maximum(content.layout @ preferred["layout"][k].T + preferred["threshold"][k] + 0.5, 0)
        for k in (0, 1)
    )
    product: Array = a * b
    return product.astype(np.float32)


class ContentTuning:
    """Weights of one subject's later voxels on the units, and their spatial pooling.

    Parameters
    ----------
    label : str
        Of the subject.
    anatomy : Anatomy
    """

    def __init__(self, label: str, anatomy: Anatomy) -> None:
        stream = Stream("virtual-fmri", VERSION, label, "content tuning")
        names = anatomy.area_names
        self.voxels = np.flatnonzero(np.isin(names, list(COMPOSITION)))
        self.n_voxels = anatomy.n_voxels
        self.exponent = anatomy.exponent[self.voxels].astype(np.float32)
        self.centre = np.stack([anatomy.rf_x, anatomy.rf_y])[:, self.voxels]
        self.sigma = anatomy.rf_sigma[self.voxels]
        positions = anatomy.positions[self.voxels]
        near = smoothing_kernel(positions, positions, CLUSTER)
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        self.weights: dict[str, Array] = {}
        for kind in KINDS:
            field = near @ stream.normal(len(self.voxels), COUNTS[kind])
            share = np.array(
                [COMPOSITION[AREA_NAMES[a - 1]].get(kind, 0) for a in anatomy.area[self.voxels]]
            )
            sparse = np.maximum(field - 1.5, 0) + 0.002
            self.weights[kind] = (share * (sparse / sparse.sum(1, keepdims=True)).T).astype("f4")

    def drive(
        self, scenes: Sequence[Scene], gaze: Array | None = None, *, block: int = 256
    ) -> Array:
        """Return the compressed drive of every voxel (n, V) float32, 0 where there is none.

        Parameters
        ----------
        scenes : sequence of n Scene
        gaze : (n, 2), optional
            Degrees right and up; solids lie elsewhere in the field when the eyes move.
        block : int
            Scenes at a time.
        """
        drive = np.zeros((len(scenes), self.n_voxels), dtype=np.float32)
        for start in range(0, len(scenes), block):
            rows = slice(start, min(start + block, len(scenes)))
            content = content_factors(scenes[rows])
            shift = np.zeros((len(content), 2)) if gaze is None else gaze[rows]
            drive[rows, self.voxels] = self._block(content, shift)
        return drive

    def _block(self, content: ContentFactors, gaze: Array) -> Array:
        objects, colours = object_units(content)
        place = self._pooling(content, gaze)
        crowd = 1 / (1 + CROWDING * (place.sum(axis=1, keepdims=True) - place))
        drive = np.zeros((len(content), len(self.voxels)), dtype=np.float32)
        # Units respond between 0 and about 1; means over scenes differ by kind.
        for units, weights, typical in (
            (objects, self.weights["object"], 0.04),
            (colours, self.weights["colour"], 0.06),
        ):
            drive += (place * crowd * (units @ weights)).sum(axis=1) / typical
        drive += relation_units(content) @ self.weights["relation"] / 0.1
        drive += scene_units(content) @ self.weights["layout"] / 0.5
        compressed: Array = (drive + FLOOR) ** self.exponent
        return compressed

    def _pooling(self, content: ContentFactors, gaze: Array) -> Array:
        """Return how much of each voxel's receptive field meets each solid (n, m, V)."""
        apart = np.stack([content.x - gaze[:, :1], content.y - gaze[:, 1:]])
        distance = ((apart[..., None] - self.centre[:, None, None, :]) ** 2).sum(axis=0)
        width = self.sigma**2 + content.radius[..., None] ** 2
        pooled: Array = np.exp(-0.5 * distance / width) * content.present[..., None]
        return pooled.astype(np.float32)
