"""Canonical solids: where a line enters them, which way their surface faces, how far they reach.

Each shape is defined once around the origin; a solid of a scene is its image under scaling,
rotation and translation, and a line is carried back by the inverse map, which keeps its
parameter t. All shapes but the torus are convex: they are entered where a quadratic or a set of
half-spaces says so. The torus is entered by stepping along its exact distance and finished by
Newton's method on its quartic.

Only operations that IEEE 754 rounds correctly (+, -, *, /, square root, comparison) touch
arrays, so that pictures do not depend on the machine's mathematical library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHAPE_GEOMETRY", "Floats", "Geometry"]

Floats = NDArray[np.floating]
"""Real array; single precision when rendering, double in tests."""

Triple = tuple[float, float, float]
_TINY = 1e-12


class Geometry(ABC):
    """One canonical shape. Points and directions are (3, n), directions of any length.

    Parameters
    ----------
    proportions : tuple of 3 floats
        Half axes at radius 1; the first two are equal for solids of revolution.
    """

    def __init__(self, proportions: Triple) -> None:
        self.proportions = proportions

    @abstractmethod
    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """Return t (n,) of the first surface point beyond ``t_min`` (n,), inf when missed."""

    @abstractmethod
    def constraints(self, p: Floats) -> Floats:
        """Return functions (k, n), all negative inside; their largest is 0 on the surface."""

    @abstractmethod
    def normal(self, p: Floats) -> Floats:
        """Return the outward gradient (3, n), not normalised, at surface points (3, n)."""

    @abstractmethod
    def support(self, direction: Floats) -> float:
        """Return the largest inner product of a point of the solid with ``direction`` (3,)."""

    def bounding_radius(self, scale: Floats) -> float:
        """Return the radius of a centred sphere around the solid scaled by ``scale`` (3,)."""
        return float(np.max(scale))


def _beyond(near: Floats, far: Floats, t_min: Floats) -> Floats:
    """Return ``near`` where the interval [near, far] exists and starts beyond ``t_min``."""
    return np.where((near < far) & (near > t_min), near, np.inf).astype(near.dtype)


def _square(v: Floats) -> Floats:
    square: Floats = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    return square


class Sphere(Geometry):
    """The unit ball; with unequal proportions an ellipsoid."""

    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """See :meth:`Geometry.enter`."""
        a = _square(d)
        b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
        root = np.sqrt(np.maximum(b * b - a * (_square(o) - 1), 0))
        return _beyond((-b - root) / a, (-b + root) / a, t_min)

    def constraints(self, p: Floats) -> Floats:
        """See :meth:`Geometry.constraints`."""
        return (_square(p) - 1)[None]

    def normal(self, p: Floats) -> Floats:
        """See :meth:`Geometry.normal`."""
        return p

    def support(self, direction: Floats) -> float:
        """See :meth:`Geometry.support`."""
        return float(np.sqrt(_square(direction)))


class Polyhedron(Geometry):
    """A convex polyhedron: the points p with ``normals @ p <= 1``, hull of ``vertices``."""

    def __init__(self, proportions: Triple, normals: list[Triple], vertices: list[Triple]) -> None:
        super().__init__(proportions)
        self.normals = np.array(normals)
        self.vertices = np.array(vertices)

    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """See :meth:`Geometry.enter`."""
        near = np.full(o.shape[1], -np.inf, dtype=o.dtype)
        far = np.full(o.shape[1], np.inf, dtype=o.dtype)
        for x, y, z in self.normals.tolist():
            slope = x * d[0] + y * d[1] + z * d[2]
            slope = np.where(np.abs(slope) < _TINY, _TINY, slope).astype(o.dtype)
            t = (1 - (x * o[0] + y * o[1] + z * o[2])) / slope
            np.maximum(near, t, out=near, where=slope < 0)
            np.minimum(far, t, out=far, where=slope > 0)
        return _beyond(near, far, t_min)

    def constraints(self, p: Floats) -> Floats:
        """See :meth:`Geometry.constraints`."""
        return np.stack([x * p[0] + y * p[1] + z * p[2] - 1 for x, y, z in self.normals.tolist()])

    def normal(self, p: Floats) -> Floats:
        """See :meth:`Geometry.normal`."""
        return self.normals.astype(p.dtype).T[:, self.constraints(p).argmax(axis=0)]

    def support(self, direction: Floats) -> float:
        """See :meth:`Geometry.support`."""
        return float(np.max((self.vertices * direction).sum(axis=1)))

    def bounding_radius(self, scale: Floats) -> float:
        """See :meth:`Geometry.bounding_radius`."""
        return float(np.sqrt(((self.vertices * scale) ** 2).sum(axis=1).max()))


class Cylinder(Geometry):
    """Unit circle times the interval [-1, 1] of z."""

    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """See :meth:`Geometry.enter`."""
        a = np.maximum(d[0] * d[0] + d[1] * d[1], _TINY)
        b = o[0] * d[0] + o[1] * d[1]
        square = b * b - a * (o[0] * o[0] + o[1] * o[1] - 1)
        root = np.sqrt(np.maximum(square, 0))
        low, high = _slab(o[2], d[2], -1.0, 1.0)
        near, far = np.maximum((-b - root) / a, low), np.minimum((-b + root) / a, high)
        return _beyond(near, np.where(square > 0, far, -np.inf), t_min)

    def constraints(self, p: Floats) -> Floats:
        """See :meth:`Geometry.constraints`."""
        return np.stack([np.sqrt(p[0] * p[0] + p[1] * p[1]) - 1, np.abs(p[2]) - 1])

    def normal(self, p: Floats) -> Floats:
        """See :meth:`Geometry.normal`."""
        cap = self.constraints(p).argmax(axis=0) == 1
        up = np.sign(p[2])
        return np.stack([np.where(cap, 0, p[0]), np.where(cap, 0, p[1]), np.where(cap, up, 0)])

    def support(self, direction: Floats) -> float:
        """See :meth:`Geometry.support`."""
        return float(np.hypot(direction[0], direction[1]) + abs(direction[2]))

    def bounding_radius(self, scale: Floats) -> float:
        """See :meth:`Geometry.bounding_radius`."""
        return float(np.hypot(max(scale[0], scale[1]), scale[2]))


class Cone(Geometry):
    """Apex at z = 1, unit circle at z = -1."""

    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """See :meth:`Geometry.enter`."""
        # Half the height left to the apex is the radius there; w is its value along the line.
        w, dw = (1 - o[2]) / 2, -d[2] / 2
        a = d[0] * d[0] + d[1] * d[1] - dw * dw
        a = np.where(np.abs(a) < 1e-7, 1e-7, a).astype(o.dtype)
        b = o[0] * d[0] + o[1] * d[1] - w * dw
        square = b * b - a * (o[0] * o[0] + o[1] * o[1] - w * w)
        root = np.sqrt(np.maximum(square, 0))
        first, last = (-b - root) / a, (-b + root) / a
        # Flatter than the mantle: inside between the roots. Steeper: inside outside them, once
        # on each nappe, and the lower nappe is the half-line on which z decreases to -infinity.
        flat, down = a > 0, d[2] < 0
        low, high = _slab(o[2], d[2], -1.0, 1.0)
        near = np.where(flat, first, np.where(down, first, -np.inf))
        far = np.where(flat, last, np.where(down, np.inf, last))
        far = np.where(flat & (square <= 0), -np.inf, far)
        return _beyond(np.maximum(near, low), np.minimum(far, high), t_min)

    def constraints(self, p: Floats) -> Floats:
        """See :meth:`Geometry.constraints`."""
        return np.stack([np.sqrt(p[0] * p[0] + p[1] * p[1]) - (1 - p[2]) / 2, -1 - p[2]])

    def normal(self, p: Floats) -> Floats:
        """See :meth:`Geometry.normal`."""
        base = self.constraints(p).argmax(axis=0) == 1
        width = np.sqrt(p[0] * p[0] + p[1] * p[1])
        return np.stack(
            [np.where(base, 0, p[0]), np.where(base, 0, p[1]), np.where(base, -1, width / 2)]
        )

    def support(self, direction: Floats) -> float:
        """See :meth:`Geometry.support`."""
        rim = np.hypot(direction[0], direction[1]) - direction[2]
        return float(max(rim, direction[2]))

    def bounding_radius(self, scale: Floats) -> float:
        """See :meth:`Geometry.bounding_radius`."""
        return float(np.hypot(max(scale[0], scale[1]), scale[2]))


class Capsule(Geometry):
    """Unit balls swept along z from -:attr:`half` to :attr:`half`."""

    half: ClassVar[float] = 0.9

    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """See :meth:`Geometry.enter`."""
        a = np.maximum(d[0] * d[0] + d[1] * d[1], _TINY)
        b = o[0] * d[0] + o[1] * d[1]
        square = b * b - a * (o[0] * o[0] + o[1] * o[1] - 1)
        side = (-b - np.sqrt(np.maximum(square, 0))) / a
        z = o[2] + side * d[2]
        # A line that enters the endless cylinder beyond an end can only enter through its cap.
        cz = o[2] - np.where(z > 0, self.half, -self.half)
        full = _square(d)
        along = b + cz * d[2]
        cap_square = along * along - full * (o[0] * o[0] + o[1] * o[1] + cz * cz - 1)
        cap = (-along - np.sqrt(np.maximum(cap_square, 0))) / full
        on_side = np.abs(z) <= self.half
        near = np.where(on_side, side, cap).astype(o.dtype)
        hit = (square > 0) & (on_side | (cap_square > 0))
        return _beyond(near, np.where(hit, np.inf, -np.inf), t_min)

    def constraints(self, p: Floats) -> Floats:
        """See :meth:`Geometry.constraints`."""
        return (_square(self.normal(p)) - 1)[None]

    def normal(self, p: Floats) -> Floats:
        """See :meth:`Geometry.normal`."""
        return np.stack([p[0], p[1], p[2] - np.clip(p[2], -self.half, self.half)])

    def support(self, direction: Floats) -> float:
        """See :meth:`Geometry.support`."""
        return float(np.sqrt(_square(direction)) + self.half * abs(direction[2]))

    def bounding_radius(self, scale: Floats) -> float:
        """See :meth:`Geometry.bounding_radius`."""
        return float(np.max(scale) + self.half * scale[2])


class Torus(Geometry):
    """Tube of radius :attr:`minor` around a circle of radius :attr:`major` in the plane z = 0."""

    major: ClassVar[float] = 0.68
    minor: ClassVar[float] = 0.32
    steps: ClassVar[int] = 24

    def enter(self, o: Floats, d: Floats, t_min: Floats) -> Floats:
        """See :meth:`Geometry.enter`."""
        length = np.sqrt(_square(d))
        u = d / length
        b = o[0] * u[0] + o[1] * u[1] + o[2] * u[2]
        root = np.sqrt(np.maximum(b * b - (_square(o) - 1), 0))
        low, high = _slab(o[2], u[2], -self.minor, self.minor)
        s = np.maximum(np.maximum(-b - root, low), t_min * length)
        end = np.minimum(-b + root, high)
        result = np.full(s.shape, np.inf, dtype=o.dtype)
        active = np.flatnonzero(s < end)
        s, end, o_now, u_now = (
            s[active],
            end[active],
            o.take(active, axis=1),
            u.take(active, axis=1),
        )
        for step in range(self.steps):
            gap = self._distance(o_now + s * u_now)
            s += gap
            close = gap < (2e-4 if step + 1 < self.steps else 2e-3)
            going = ~close & (s < end)
            left = np.count_nonzero(going)
            if left == 0 or left < 0.7 * going.size or step + 1 == self.steps:
                result[active[close]] = s[close]
                stay = np.flatnonzero(going)
                active, s, end = active[stay], s[stay], end[stay]
                o_now, u_now = o_now.take(stay, axis=1), u_now.take(stay, axis=1)
            if not active.size:
                break
        hit = np.flatnonzero(np.isfinite(result))
        result[hit] = self._polish(o.take(hit, axis=1), u.take(hit, axis=1), result[hit])
        return result / length

    def _distance(self, p: Floats) -> Floats:
        ring = np.sqrt(p[0] * p[0] + p[1] * p[1]) - self.major
        distance: Floats = np.sqrt(ring * ring + p[2] * p[2]) - self.minor
        return distance

    def _polish(self, o: Floats, u: Floats, s: Floats) -> Floats:
        """Two Newton steps on the quartic along the line."""
        for _ in range(2):
            p = o + s * u
            g = self.normal(p)
            slope = g[0] * u[0] + g[1] * u[1] + g[2] * u[2]
            value = self.constraints(p)[0]
            step = value / np.where(np.abs(slope) < 1e-3, -1e-3, slope)
            s = (s - np.clip(step, -2e-3, 2e-3)).astype(o.dtype)
        return s

    def constraints(self, p: Floats) -> Floats:
        """See :meth:`Geometry.constraints`."""
        k = _square(p) + (self.major**2 - self.minor**2)
        quartic: Floats = k * k - 4 * self.major**2 * (p[0] * p[0] + p[1] * p[1])
        return quartic[None]

    def normal(self, p: Floats) -> Floats:
        """See :meth:`Geometry.normal`."""
        k = 4 * (_square(p) + (self.major**2 - self.minor**2))
        flat = k - 8 * self.major**2
        return np.stack([flat * p[0], flat * p[1], k * p[2]])

    def support(self, direction: Floats) -> float:
        """See :meth:`Geometry.support`."""
        ring = self.major * np.hypot(direction[0], direction[1])
        return float(ring + self.minor * np.sqrt(_square(direction)))

    def bounding_radius(self, scale: Floats) -> float:
        """See :meth:`Geometry.bounding_radius`."""
        return float(self.major * max(scale[0], scale[1]) + self.minor * np.max(scale))


def _slab(o: Floats, d: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """Return the interval of t on which ``low <= o + t d <= high``."""
    d = np.where(np.abs(d) < _TINY, _TINY, d).astype(o.dtype)
    one, two = (low - o) / d, (high - o) / d
    return np.minimum(one, two), np.maximum(one, two)


_SIGNS = (-1.0, 1.0)
_AXES: list[Triple] = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
_CORNERS: list[Triple] = [(x, y, z) for x in _SIGNS for y in _SIGNS for z in _SIGNS]
_MANTLE: list[Triple] = [(2, 0, 1), (-2, 0, 1), (0, 2, 1), (0, -2, 1), (0, 0, -1)]
_BASE: list[Triple] = [(x, y, -1.0) for x in _SIGNS for y in _SIGNS]

SHAPE_GEOMETRY: dict[str, Geometry] = {
    "sphere": Sphere((0.90, 0.90, 0.90)),
    "cube": Polyhedron((0.72, 0.72, 0.72), _AXES, _CORNERS),
    "cylinder": Cylinder((0.66, 0.66, 0.80)),
    "cone": Cone((0.82, 0.82, 0.95)),
    "torus": Torus((1.05, 1.05, 1.05)),
    "ellipsoid": Sphere((0.62, 0.62, 1.08)),
    "capsule": Capsule((0.46, 0.46, 0.62)),
    "pyramid": Polyhedron((0.82, 0.82, 0.82), _MANTLE, [*_BASE, (0.0, 0.0, 1.0)]),
    "octahedron": Polyhedron((0.98, 0.98, 1.08), _CORNERS, _AXES),
}
