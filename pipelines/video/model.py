"""Video model folders: what decodes clips, and which picture model renders their keyframes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.checkpoints.registry import model_folder
from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.data.movies.standardising import standardised
from phosphene.encoders.brain.video import VideoRidge
from phosphene.errors import InputError
from phosphene.pipelines.generators.video.base import VideoConditions, VideoGenerator
from phosphene.pipelines.generators.video.choosing import open_video_generator
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.video.captions import KnownCaptions
from phosphene.pipelines.video.model_card import model_card
from phosphene.priors.identity import IdentityPrior
from phosphene.schemas import Protocol
from phosphene.schemas.model import SubjectPreprocessing
from phosphene.schemas.video import ClipTiming, VideoModelIndex
from phosphene.storage import (
    hash_file,
    load_tensors,
    new_folder,
    read_json,
    save_tensors,
    write_text,
)
from phosphene.types import BrainEmbedding, VoxelSpace

if TYPE_CHECKING:
    import torch

__all__ = ["VideoModel", "load_video_model", "picture_hashes", "save_video_model"]

Array = np.ndarray[Any, Any]
INDEX = "model_index.json"
CAPTIONS = "captions.txt"
NEUROCLIPS = "neuroclips:"  # two converted models in the place of a folder
MOVING = ("lowlevel", "flow", "motion_energy", "cut")
TR_TOLERANCE = 0.02  # of the TR


@dataclass(eq=False)
class VideoModel:
    """Everything that turns runs into clips.

    Attributes
    ----------
    encoder : VideoRidge
    prior : IdentityPrior
        Brings decoded tokens to the lengths of true ones.
    generator : VideoGenerator
    pictures : Reconstructor
        Renders keyframes; only its target, generator and detail are used.
    picture_model : str
        Its name.
    timing : ClipTiming
    spaces : dict of str to VoxelSpace
    protocol : Protocol
    metrics : dict of str to float
    captions : tuple of str
        Of training clips, among which decoded ones find their words.
    name, hash : str
    """

    encoder: VideoRidge
    prior: IdentityPrior
    generator: VideoGenerator
    pictures: Reconstructor
    picture_model: str
    timing: ClipTiming
    spaces: dict[str, VoxelSpace]
    protocol: Protocol
    metrics: dict[str, float]
    captions: tuple[str, ...] = ()
    name: str = ""
    hash: str = ""

    def space(self, subject: str) -> VoxelSpace:
        """Return the voxels of a subject; an unknown one is an error that says how to add it."""
        if subject not in self.spaces:
            raise InputError(
                f"the model {self.name} does not know subject {subject!r}",
                expected=f"one of {', '.join(sorted(self.spaces))}",
                remedy=f"train one: phosphene train video --subject {subject} --dataset DATASET "
                "--output MODEL",
            )
        return self.spaces[subject]

    def clips(self, run: MovieRun) -> MovieClips:
        """Return the clips of a run, cut as the model was trained.

        Raises
        ------
        InputError
            If the run has another TR or other voxels than the model.
        """
        timing = self.timing
        if abs(run.tr - timing.tr) > TR_TOLERANCE * timing.tr:
            raise InputError(
                f"the run of {run.segment} has a TR of {run.tr:g} s",
                expected=f"{timing.tr:g} s, as the model {self.name} was trained on",
                remedy="resample the run, or train a model on runs of this TR",
            )
        space = self.space(run.recording.subject)
        if run.recording.space is None or run.recording.space.hash != space.hash:
            found = run.recording.space
            raise InputError(
                f"the run of {run.segment} has these voxels: "
                f"{'none' if found is None else found.describe()}",
                expected=f"those of the model: {space.describe()}",
                remedy="bring the run to the model's grid and mask, or train on these voxels",
            )
        return run.clips(timing.seconds, delay=timing.delay, window=timing.window)

    def decode(self, run: MovieRun, clips: MovieClips) -> dict[str, torch.Tensor]:
        """Return every head of each clip (n, ...); ``tokens`` are as long as true ones."""
        volumes = standardised(run.recording.data, run.tr)
        decoded = self.encoder.encode(
            run.recording.subject, volumes[clips.rows], averaged=run.averaged
        )
        scale = self.prior.scale
        decoded["tokens"] = decoded["tokens"] * (scale[0] if decoded["tokens"].ndim == 2 else scale)
        return decoded

    def embedding(self, decoded: dict[str, torch.Tensor]) -> BrainEmbedding:
        """Return the embedding of the keyframes, as the picture model takes it."""
        tokens, features = decoded["tokens"], decoded.get("features")
        lowlevel = decoded.get("lowlevel")
        parts: dict[str, Any] = {"tokens" if tokens.ndim == 3 else "pooled": tokens}
        if lowlevel is not None:
            parts["lowlevel"] = _middle(lowlevel)
        return BrainEmbedding(**parts, features=features)

    def words(self, decoded: dict[str, torch.Tensor]) -> tuple[str, ...] | None:
        """Return of each clip the known caption nearest to the decoded one, where there are any."""
        if "caption" not in decoded or not self.captions:
            return None
        return tuple(self._known_captions.nearest(decoded["caption"]))

    @cached_property
    def _known_captions(self) -> KnownCaptions:
        return KnownCaptions(self.captions, self.pictures.parts.target)

    def conditions(
        self,
        decoded: dict[str, torch.Tensor],
        seeds: Array,
        *,
        batch_size: int = 16,
        num_inference_steps: int | None = None,
    ) -> Iterator[VideoConditions]:
        """Yield the conditions of clips, batch by batch, keyframes rendered.

        Parameters
        ----------
        decoded : dict of str to Tensor of shape (n, ...)
            From :meth:`decode`.
        seeds : ndarray of shape (n,)
            Of each clip's keyframe.
        """
        import torch

        embedding, words = self.embedding(decoded), self.words(decoded)
        rendered = self.pictures.render(
            embedding,
            seeds[:, None],
            batch_size=batch_size,
            num_inference_steps=num_inference_steps,
        )
        for start, pictures in rendered:
            rows = slice(start, start + len(pictures))
            keyframes = torch.from_numpy(np.ascontiguousarray(pictures[:, 0])).movedim(-1, 1)
            heads = {name: decoded[name][rows] for name in MOVING if name in decoded}
            yield VideoConditions(
                seconds=self.timing.seconds,
                keyframes=keyframes.float() / 255,
                embedding=embedding[rows],
                lowlevel=heads.get("lowlevel"),
                flow=heads.get("flow"),
                motion_energy=heads.get("motion_energy"),
                cut=heads.get("cut"),
                captions=None if words is None else words[rows],
            )


def _middle(series: torch.Tensor) -> torch.Tensor:
    """Return what a series (n, T, ...) is in the middle of the clip."""
    count = series.shape[1]
    return (series[:, (count - 1) // 2] + series[:, count // 2]) / 2


def picture_hashes(pictures: Reconstructor) -> dict[str, Any]:
    """Return which latents and features a picture model renders from and searches by."""
    latents, features = pictures.parts.generator.latents, pictures.parts.features_target
    return {
        "latents_hash": None if latents is None else latents.spec.hash,
        "features_hash": None if features is None else features.spec.hash,
    }


def _pinned(model: VideoModel) -> dict[str, Any]:
    """Return the hashes of what the decoder was taught of the picture model."""
    hashes = picture_hashes(model.pictures)
    if "features" not in model.encoder.heads:
        hashes["features_hash"] = None
    return hashes


def save_video_model(folder: str | os.PathLike[str], model: VideoModel) -> Path:
    """Write a model folder; it appears under its name only when complete."""
    target = Path(folder)
    with new_folder(target) as building:
        model.encoder.save_pretrained(building / "encoder")
        model.prior.save_pretrained(building / "prior")
        for path in sorted(building.rglob("model.safetensors")):
            stored = load_tensors(path)
            halved = {k: v.half() if v.is_floating_point() else v for k, v in stored.items()}
            save_tensors(path, halved)
        model.generator.save(building / "video_generator")
        model.protocol.save(building / "protocol.json")
        save_tensors(
            building / "voxels.safetensors",
            {label: _as_tensor(space.indices) for label, space in model.spaces.items()},
        )
        if model.captions:
            write_text(building / CAPTIONS, "\n".join(model.captions) + "\n")
        write_text(building / "README.md", model_card(target.name, model))
        files = sorted(f for f in building.rglob("*") if f.is_file() and f.name != "README.md")
        counts = model.protocol.n_train_trials
        VideoModelIndex(
            name=target.name,
            subjects={
                label: SubjectPreprocessing(
                    grid_shape=space.grid_shape,
                    affine=None if space.affine is None else space.affine.tolist(),
                    voxel_hash=space.hash,
                    n_trials_fitted=counts[label],
                )
                for label, space in model.spaces.items()
            },
            encoder=model.encoder.name,
            video_generator=model.generator.name,
            picture_model=model.picture_model,
            target=model.pictures.parts.target.spec,
            **_pinned(model),
            timing=model.timing,
            files={f.relative_to(building).as_posix(): hash_file(f) for f in files},
            created_with=f"phosphene {phosphene.__version__}",
            metrics=model.metrics,
        ).save(building / INDEX)
    return target


def _as_tensor(values: Array) -> Any:
    import torch

    return torch.from_numpy(values.copy())


def load_video_model(
    name: str,
    *,
    generator: str | None = None,
    generator_options: dict[str, Any] | None = None,
    keyframes: str | None = None,
    keyframe_options: dict[str, Any] | None = None,
    device: str = "auto",
    **options: Any,
) -> VideoModel:
    """Load a video model and the picture model that it names; every file is verified.

    Parameters
    ----------
    name : str
        A known name, a folder, ``local-dir:PATH`` or ``hf-hub:ID``; or
        ``neuroclips:SEMANTIC,PERCEPTION``, two converted models.
    generator : str, optional
        Of video, by name (and place); the model's own by default.
    generator_options : dict, optional
        Settings of a published one.
    keyframes, keyframe_options : str and dict, optional
        The same of what renders keyframes; the picture model's own generator by default.
    device : str
    **options
        Of the picture model, such as ``detail`` or ``strength``.

    Raises
    ------
    InputError
        If the folder holds no video model, a file was changed, or the picture model is not the one
        that it was trained for.
    """
    if name.startswith(NEUROCLIPS):
        from phosphene.pipelines.video.neuroclips import load_neuroclips

        return load_neuroclips(
            name,
            generator=generator,
            generator_options=generator_options,
            keyframes=keyframes,
            keyframe_options=keyframe_options,
            device=device,
            **options,
        )
    folder = model_folder(name)
    if not (folder / INDEX).is_file():
        raise InputError(
            f"{folder} is not a model folder: it has no {INDEX}",
            expected="a folder written by `phosphene train video`",
            remedy="check the path; an interrupted training leaves no model folder",
        )
    if read_json(folder / INDEX).get("schema") == "model":
        raise InputError(
            f"{folder} holds a model of pictures",
            expected="one that `phosphene train video` wrote",
            remedy="leave --video away, or name another --model",
        )
    index = VideoModelIndex.load(folder / INDEX)
    for file, expected in index.files.items():
        path = folder / file
        if not path.is_file() or hash_file(path) != expected:
            raise InputError(
                f"the file {file} of the model folder {folder} "
                f"{'was changed or damaged' if path.is_file() else 'is lost'}",
                expected=f"content with the SHA-256 {expected[:16]}...",
                remedy="copy the model again from its source, or train it again",
            )
    pictures = Reconstructor.from_pretrained(
        index.picture_model, generator=keyframes, generator_options=keyframe_options,
        prior="none", device=device, **options,
    )  # fmt: skip
    _check_pictures(index, pictures)
    made = open_video_generator(
        generator or index.video_generator,
        folder / "video_generator",
        pictures.parts.generator,
        generator_options,
    )
    tensors = load_tensors(folder / "voxels.safetensors")
    spaces = {
        label: VoxelSpace(
            stored.grid_shape,
            tensors[label].numpy(),
            None if stored.affine is None else np.asarray(stored.affine),
        )
        for label, stored in index.subjects.items()
    }
    return VideoModel(
        encoder=VideoRidge.from_pretrained(folder / "encoder"),
        prior=IdentityPrior.from_pretrained(folder / "prior"),
        generator=made.to(pictures.device),
        pictures=pictures,
        picture_model=index.picture_model,
        timing=index.timing,
        spaces=spaces,
        protocol=Protocol.load(folder / "protocol.json"),
        metrics=index.metrics,
        captions=_captions(folder),
        name=index.name,
        hash=index.hash,
    )


def _captions(folder: Path) -> tuple[str, ...]:
    path = folder / CAPTIONS
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()


def _check_pictures(index: VideoModelIndex, pictures: Reconstructor) -> None:
    """Refuse a picture model of the right name that renders from other embeddings."""
    found = {"target": pictures.parts.target.spec.hash, **picture_hashes(pictures)}
    wanted: dict[str, str | None] = {
        "target": index.target.hash,
        "latents_hash": index.latents_hash,
    }
    if index.features_hash is not None:
        wanted["features_hash"] = index.features_hash
    for part, expected in wanted.items():
        if found[part] != expected:
            raise InputError(
                f"the picture model {index.picture_model} has the {part.removesuffix('_hash')} "
                f"{found[part]}",
                expected=f"{expected}, for which the video model {index.name} was trained",
                remedy="use the release that it came with, or train it again",
            )
