"""Where in the brain a decoder reads: slices of voxel importance."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import AssetError, InputError, PhospheneError
from phosphene.names import require
from phosphene.pipelines.report.thumbnails import png_address
from phosphene.types import VoxelSpace

__all__ = ["BrainMap", "Slice", "brain_map_of", "draw_brain_map", "draw_slices", "voxel_importance"]

Array = np.ndarray[Any, Any]

N_SLICES = 6
COLOURS = "viridis"
BACKGROUND = "black"
WIDTH = 2.4  # inches
FAINTEST = 1e-6  # of the top: an unused voxel is still drawn, what lies outside is not


@dataclass(frozen=True)
class Slice:
    """One slice as a PNG file, and where it lies."""

    name: str
    png: bytes

    @property
    def address(self) -> str:
        """The file as a data address."""
        return png_address(self.png)


@dataclass(frozen=True)
class BrainMap:
    """Slices through a subject's voxels.

    Attributes
    ----------
    subject : str
    slices : tuple of Slice
    colours : tuple of str
        From no importance to the top of the scale.
    top : float
        Importance that the last colour stands for.
    meaning : str
        What was drawn, in words.
    """

    subject: str
    slices: tuple[Slice, ...]
    colours: tuple[str, ...]
    top: float
    meaning: str

    @property
    def top_words(self) -> str:
        """The top of the scale, and that more is drawn as that."""
        return f"{self.top:.3g} and more"


def brain_map_of(
    config: Mapping[str, Any], model: str, model_hash: str, subject: str, *, named: str | None
) -> tuple[BrainMap | None, str]:
    """Return the map of the model that a run used, or in words why there is none.

    Parameters
    ----------
    config : mapping
        Settings of the run; its ``model`` is looked up where none is named.
    model, model_hash : str
        Name and identity that the run recorded.
    subject : str
    named : str, optional
        Where the user says the model is; what goes wrong there is an error.
    """
    try:
        return draw_brain_map(_find_model(config, model, model_hash, named), subject), ""
    except PhospheneError as error:
        if named is not None:
            raise
        return None, error.found


def _find_model(config: Mapping[str, Any], model: str, model_hash: str, named: str | None) -> Path:
    from phosphene.checkpoints.registry import model_folder
    from phosphene.schemas import ModelIndex

    name = named or str(config.get("model") or model)
    if named is None and name.startswith("hf-hub:"):  # a page is built without a network
        raise AssetError(f"the model lies on a hub; --model {name} fetches it")
    try:
        folder = model_folder(name)
        index = ModelIndex.load(folder / "model_index.json")
    except PhospheneError as error:
        if named is not None:
            raise
        raise AssetError("the model is not where the run found it; --model says where") from error
    if index.hash != model_hash:
        raise InputError(
            f"the model {index.name} with the hash {index.hash} is not the one that was used",
            expected=f"{model_hash}, with which these pictures were made",
            remedy="name the folder of that model with --model",
        )
    return folder


def voxel_importance(encoder: Any, subject: str) -> Array | None:
    """Return the norm of each voxel's weights over all targets, (n_voxels,), float64.

    Weights of a reduced rank or in dual form are not multiplied out: with orthonormal rows of a
    basis the norm is that of the reduced weights, and with ``W = X' A`` it is that of the rows of
    ``X' (A A')^(1/2)``. None where the encoder is not linear.
    """
    from phosphene.encoders.brain.ridge import RidgeEncoder

    if not isinstance(encoder, RidgeEncoder) or subject not in encoder.subjects:
        return None
    solution = encoder.solutions_[subject]
    weights = solution.weights.double()
    if solution.basis is not None:
        gram = solution.basis.double() @ solution.basis.double().T
    if solution.inputs is None:
        right = weights if solution.basis is None else weights @ gram
        squares = (right * weights).sum(1)
    else:
        inner = weights @ (weights.T if solution.basis is None else gram @ weights.T)
        inputs = solution.inputs.double()
        squares = ((inner @ inputs) * inputs).sum(0)
    found: Array = squares.clamp_min(0).sqrt().cpu().numpy()
    return found


def draw_brain_map(folder: Path, subject: str) -> BrainMap:
    """Draw the voxels of a subject as axial slices.

    Raises
    ------
    InputError
        If the model's voxels have no place in a volume, or its encoder no weights per voxel.
    AssetError
        If nilearn is not installed.
    """
    from phosphene.data.preprocessing import Preprocessor
    from phosphene.encoders.brain import BRAIN_ENCODERS
    from phosphene.pipelines.model_folder import load_component

    preprocessor = Preprocessor.load(folder)
    space = preprocessor.space(subject)
    if preprocessor.modality != "fmri" or space.affine is None or len(space.grid_shape) != 3:
        raise InputError("the model's inputs have no place in a volume")
    importance = voxel_importance(load_component(folder / "encoder", BRAIN_ENCODERS), subject)
    if importance is None or len(importance) != space.n_voxels:
        raise InputError("the model's encoder has no weights per voxel")
    scaled = "z-scored and weighed by reliability" if preprocessor.weighted else "z-scored"
    top = float(np.percentile(importance, 99)) or 1.0
    return BrainMap(
        subject=subject,
        slices=draw_slices(space, importance, top),
        colours=_colours(),
        top=top,
        meaning=f"Norm of each voxel's ridge weights over all targets; voxels are {scaled}, "
        f"{space.n_voxels:,} of them, left is left",
    )


def draw_slices(space: VoxelSpace, importance: Array, top: float) -> tuple[Slice, ...]:
    """Draw slices through the voxels, evenly between the lowest and the highest."""
    plotting = require("nilearn.plotting", "fmri")
    images = require("nilearn.image", "fmri")
    figures = require("matplotlib.figure", "report")
    import nibabel

    volume = np.zeros(space.grid_shape, dtype=np.float32)
    volume.reshape(-1)[space.indices] = np.maximum(importance, top * FAINTEST)
    affine = np.eye(4) if space.affine is None else space.affine
    places = np.argwhere(volume > 0) @ affine[:3, :3].T + affine[:3, 3]
    low, high = np.percentile(places[:, 2], [4, 96])
    heights = np.unique(np.round(np.linspace(low, high, N_SLICES), 1))
    spread = np.ptp(places[:, :2], axis=0) + 2 * np.linalg.norm(affine[:3, :3], axis=0).max()
    size = WIDTH * spread / spread.max()
    drawn = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about masked voxels, which are meant to be empty
        whole = nibabel.Nifti1Image(volume, affine)  # type: ignore[no-untyped-call]
        image = images.crop_img(whole, copy_header=True)
        for height in heights:
            figure = figures.Figure(figsize=tuple(size), facecolor=BACKGROUND)
            plotting.plot_img(
                image, display_mode="z", cut_coords=[float(height)], figure=figure,
                annotate=False, draw_cross=False, colorbar=False, cmap=COLOURS, black_bg=True,
                vmin=0.0, vmax=top, threshold=top * FAINTEST / 2,
                resampling_interpolation="nearest",
            )  # fmt: skip
            buffer = io.BytesIO()
            options = {"dpi": 120, "facecolor": BACKGROUND, "metadata": {"Software": None}}
            figure.savefig(buffer, format="png", **options)
            drawn.append(Slice(f"z = {height:g} mm", buffer.getvalue()))
    return tuple(drawn)


def _colours() -> tuple[str, ...]:
    matplotlib = require("matplotlib", "report")
    colours = matplotlib.colormaps[COLOURS]
    rgb = [colours(step)[:3] for step in np.linspace(0, 1, 6)]
    return tuple("#" + "".join(f"{round(255 * part):02x}" for part in one) for one in rgb)
