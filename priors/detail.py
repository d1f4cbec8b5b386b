"""Fine detail of a rendered picture, lent by a training picture that is found by its features.

What a recording says of textures and outlines is spread over few directions: too few to draw
them, enough to find a picture that has them. Its fine detail is put on the coarse picture that a
generator rendered, as bands of a pyramid are joined (Burt and Adelson 1983, *ACM Transactions on
Graphics* 2) and as examples sharpen a blurred picture (Freeman, Jones and Pasztor 2002). Colours
and places stay those of the generator; edges finer than the blur are those of a training
picture, and were not decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from phosphene.batches import in_equal_blocks
from phosphene.component import Component, record_config
from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError
from phosphene.priors.quilt import Likeness, quilt
from phosphene.types import BrainEmbedding

__all__ = ["BorrowedDetail", "principal_axes"]

BLOCK, BATCH = 8, 1000
LEVELS = 127  # of a key in one byte
SPREAD = 64  # directions along which pictures spread
DROPOUT = 0.2


class BorrowedDetail(nn.Module, Component):
    """Training pictures by their features, and a network that tells which one to borrow from.

    The network looks at all parts of a decoded embedding and answers in the main directions of
    decoded features.

    Parameters
    ----------
    target : str
        Hash of the spec of the features.
    inputs : dict of str to (int, int)
        Size of each part of an embedding, and how many of its main directions are looked at.
        Without any there is no network: pictures are looked for by decoded features themselves.
    pictures : int
        Training pictures that may lend.
    features : int
        Numbers per picture of the second network.
    components, hidden : int
        Directions of features, and units between.
    blur : float
        Standard deviation of the Gaussian, in pixels, that parts coarse from fine; 0 lends
        nothing.
    draws : int
        Pictures of the generator whose mean the coarse part is taken from.
    candidates : int
        Pictures that are tried.
    regions : int
        Along each side of the picture: each takes the detail of that candidate which makes the
        result look most like what was decoded.
    scenes : str
        Version of the renderer, where the pictures are its first training scenes and are drawn
        when needed; empty where their latents are kept.
    latents : sequence of int
        Shape (c, h, w) of these; empty with scenes.
    """

    kind = "detail"
    name = "borrowed"

    @record_config
    def __init__(
        self,
        target: str,
        inputs: Mapping[str, Sequence[int]],
        pictures: int,
        features: int,
        components: int = 64,
        hidden: int = 384,
        blur: float = 0.0,
        draws: int = 1,
        candidates: int = 16,
        regions: int = 2,
        scenes: str = "",
        latents: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if not 0 <= blur < np.inf or min(draws, candidates, regions) < 1:
            raise UsageError(
                f"`blur` is {blur}, `draws` is {draws}, `candidates` is {candidates} and "
                f"`regions` is {regions}",
                "0 pixels or more, and 1 or more of the others",
            )
        if bool(scenes) == bool(latents):
            raise UsageError("detail without pictures, or with two kinds", "scenes or latents")
        _check_version(scenes)
        self.target, self.inputs, self.scenes = target, dict(inputs), scenes
        self.blur, self.draws, self.regions = blur, draws, regions
        self.candidates = min(candidates, pictures)
        for part, (size, kept) in self.inputs.items():
            self.register_buffer(f"{part}_mean", torch.zeros(size))
            self.register_buffer(f"{part}_axes", torch.zeros(size, kept))
            self.register_buffer(f"{part}_scale", torch.ones(kept))
        self.network: nn.Module = nn.Identity()
        if self.inputs:
            self.network = nn.Sequential(
                nn.Linear(sum(kept for _, kept in self.inputs.values()), hidden),
                nn.GELU(),
                nn.Dropout(DROPOUT),
                nn.Linear(hidden, components),
            )
        self.likeness = Likeness(features, min(SPREAD, features))
        self.register_buffer("axes", torch.zeros(features, components))
        self.register_buffer("keys", torch.zeros(pictures, components, dtype=torch.int8))
        self.register_buffer("step", torch.ones(components))
        self.register_buffer("usual", torch.zeros(pictures))
        self.register_buffer("spread", torch.ones(pictures))
        if latents:
            self.register_buffer("latents", torch.zeros(pictures, *latents))
        self.eval()

    def measure(self, decoded: BrainEmbedding) -> None:
        """Find the main directions of left-out predictions, of every part and of features."""
        with torch.no_grad():
            for part, (_, kept) in self.inputs.items():
                values = decoded.parts[part].flatten(1).float()
                mean = values.mean(0)
                axes = principal_axes(values - mean, kept)
                self.get_buffer(f"{part}_mean").copy_(mean)
                self.get_buffer(f"{part}_axes").copy_(axes)
                self.get_buffer(f"{part}_scale").copy_(((values - mean) @ axes).std(0) + 1e-6)
            features = decoded.parts["features"].float()
            self.get_buffer("axes").copy_(
                principal_axes(features, self.get_buffer("axes").shape[1])
            )

    def reduce(self, decoded: BrainEmbedding) -> Tensor:
        """Return what the network looks at, (n, sum of kept directions).

        A part that is missing says nothing: it is taken for its mean.
        """
        if not self.inputs:
            return decoded.parts["features"].float().cpu() @ self.get_buffer("axes")
        return torch.cat([self._reduced(decoded, part) for part in self.inputs], dim=1)

    def _reduced(self, decoded: BrainEmbedding, part: str) -> Tensor:
        values, scale = decoded.parts.get(part), self.get_buffer(f"{part}_scale")
        if values is None:
            return scale.new_zeros(len(decoded), len(scale))
        centred = values.flatten(1).float().cpu() - self.get_buffer(f"{part}_mean")
        return centred @ self.get_buffer(f"{part}_axes") / scale

    @torch.no_grad()
    def remember(
        self,
        features: Tensor,
        reduced: Tensor,
        *,
        mean: Tensor,
        scale: Tensor,
        latents: Tensor | None = None,
    ) -> None:
        """Keep the pictures, once the network is trained.

        Parameters
        ----------
        features : Tensor of shape (n, d)
            Of the pictures, standardised.
        reduced : Tensor of shape (m, k)
            Left-out predictions, by which is known how similar each picture usually is.
        mean, scale : Tensor of shape (d,)
            With which features are standardised.
        latents : Tensor of shape (n, c, h, w), optional
        """
        keys = torch.cat(
            [
                normalize(rows.float(), dim=1) @ self.get_buffer("axes")
                for rows in features.split(BATCH)
            ]
        )
        self.likeness.measure(features, mean, scale)
        step = keys.abs().amax(0).clamp_min(1e-12) / LEVELS
        self.get_buffer("step").copy_(step)
        self.get_buffer("keys").copy_((keys / step).round())
        if latents is not None:
            self.get_buffer("latents").copy_(latents)
        if not self.inputs:  # few directions: what is usual there is most of what is told
            return
        total, squares = torch.zeros(2, len(keys), dtype=torch.float64)
        for rows in reduced.split(BATCH):
            cosines = self._cosines(self.network(rows)).double()
            total += cosines.sum(0)
            squares += cosines.square().sum(0)
        mean = total / len(reduced)
        self.get_buffer("usual").copy_(mean)
        self.get_buffer("spread").copy_((squares / len(reduced) - mean**2).clamp_min(1e-9).sqrt())

    @torch.no_grad()
    def look_for(self, decoded: BrainEmbedding) -> Tensor:
        """Return the features that are expected, in their main directions (n, components)."""
        used = self.inputs or ("features",)
        parts = {name: part for name, part in decoded.parts.items() if name in used}

        def look(*rows: Tensor) -> Tensor:
            embedding = BrainEmbedding(**dict(zip(parts, rows, strict=True)))
            found: Tensor = self.network(self.reduce(embedding))
            return found

        return in_equal_blocks(look, *parts.values(), size=BLOCK)

    @torch.no_grad()
    def find(self, expected: Tensor) -> Tensor:
        """Return the pictures (n, candidates) that expected features point to, best first.

        That is the greatest cosine, measured for each picture against its usual one: some are
        close to every prediction (hubs, Radovanovic, Nanopoulos and Ivanovic 2010, *JMLR* 11).
        """
        usual, spread = self.get_buffer("usual"), self.get_buffer("spread")

        def nearest(rows: Tensor) -> Tensor:
            return ((self._cosines(rows) - usual) / spread).topk(self.candidates, dim=1).indices

        return in_equal_blocks(nearest, expected, size=BLOCK)

    def _cosines(self, expected: Tensor) -> Tensor:
        """Return similarities (m, n) of m expectations, as far as keys of one byte tell."""
        return (
            normalize(expected, dim=1)
            @ (self.get_buffer("keys").float() * self.get_buffer("step")).T
        )

    def lend(
        self,
        coarse: np.ndarray,
        decoded: BrainEmbedding,
        *,
        decode: Callable[[Tensor], Tensor],
        describe: Callable[[Pictures], Tensor] | None = None,
    ) -> Pictures:
        """Return pictures (n, H, H, 3) with borrowed detail.

        The nearest picture need not make the nearest result, since blending changes what a network
        sees: results are described and compared with what was decoded.

        Parameters
        ----------
        coarse : ndarray of shape (n, H, H, 3)
            As rendered, in 0..255.
        decoded : BrainEmbedding
            n predictions, with all parts that the network looks at.
        decode : callable
            Latents (n, c, h, w) to pictures (n, 3, H, H) in 0..1.
        describe : callable, optional
            Pictures to their features at each place (n, h, w, d), standardised; without it the
            first candidate lends.
        """
        expected = self.look_for(decoded)
        candidates = self.find(expected)
        if describe is None:
            candidates = candidates[:, :1]
        found = np.empty(coarse.shape, dtype=np.uint8)
        for item, (rendered, rows) in enumerate(zip(coarse, candidates, strict=True)):
            lenders = self._pictures(rows, coarse.shape[1], decode).astype(np.float32)
            smooth = _blurred(rendered.astype(np.float32), self.blur)
            details = np.stack([lender - _blurred(lender, self.blur) for lender in lenders])
            if describe is None or len(details) == 1:
                found[item] = np.clip(np.rint(smooth + details[0]), 0, 255)
                continue
            asked = self.get_buffer("axes") @ expected[item]
            found[item] = quilt(
                smooth,
                details,
                regions=self.regions,
                describe=describe,
                alike=partial(self.likeness, decoded=asked),
            )
        return found

    def _pictures(self, rows: Tensor, size: int, decode: Callable[[Tensor], Tensor]) -> Pictures:
        if self.scenes:
            from phosphene.data.scenes import render, sample_scenes

            numbers, places = np.unique(rows.numpy(), return_inverse=True)
            scenes = [scene for row in numbers for scene in sample_scenes(int(row), int(row) + 1)]
            drawn: Pictures = render(scenes, size).images
            return np.asarray(drawn[places])
        found = in_equal_blocks(decode, self.get_buffer("latents")[rows], size=BLOCK)
        levels = (found.clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
        return np.asarray(levels.cpu().numpy().astype(np.uint8))

    def with_blur(self, blur: float) -> BorrowedDetail:
        """Return the same with another scale."""
        found = BorrowedDetail(**{**self.config, "blur": blur})
        found.load_state_dict(self.state_dict())
        return found

    def to(self, *args: object, **options: object) -> BorrowedDetail:
        """Stay on the CPU: it is small, and the same picture has to be found everywhere."""
        return self


def _blurred(picture: np.ndarray, blur: float) -> np.ndarray:
    """Return what is coarse in a picture (H, H, 3)."""
    from scipy.ndimage import gaussian_filter

    found: np.ndarray = gaussian_filter(picture, (blur, blur, 0), mode="nearest")
    return found


def principal_axes(values: Tensor, count: int) -> Tensor:
    """Return the directions (d, count) in which rows (n, d) are longest, longest first."""
    moment = values.double().T @ values.double()
    axes: Tensor = torch.linalg.eigh(moment).eigenvectors[:, -count:]
    return axes.flip(1).float()


def _check_version(scenes: str) -> None:
    if not scenes:
        return
    from phosphene.data.scenes import SCENES_VERSION

    if scenes != SCENES_VERSION:
        raise InputError(
            f"detail from the scenes of version {scenes!r}",
            expected=f"{SCENES_VERSION!r}, which this release draws",
            remedy="use the release that wrote it",
        )
