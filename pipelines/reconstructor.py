"""The pipeline that people use: a recording in, pictures out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import UsageError
from phosphene.hub import upload_folder
from phosphene.names import check_subject
from phosphene.pipelines.assembly import assemble
from phosphene.pipelines.captioning.base import open_captioner
from phosphene.pipelines.devices import choose_device
from phosphene.pipelines.embedding import predict
from phosphene.pipelines.generators.step_progress import StepEnd
from phosphene.pipelines.items import embedding_arrays, items_of, picture_seeds
from phosphene.pipelines.lowlevel import lowlevel_pictures, start_of
from phosphene.pipelines.model_folder import ModelParts, load_model, save_model
from phosphene.pipelines.reading import conformed, read_for
from phosphene.pipelines.reconstruction import Reconstruction
from phosphene.pipelines.rendering import Rendering
from phosphene.pipelines.rendering_options import (
    choose_blend,
    choose_detail,
    choose_generator,
    choose_prior,
    choose_strength,
)
from phosphene.pipelines.run_record import describe_run
from phosphene.progress import progress
from phosphene.types import BrainEmbedding, Recording

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["Reconstructor"]

Average = Literal["none", "stimulus"]
DEFAULT_BATCH = 64


class Reconstructor:
    """Holds an encoder, its preprocessing and target, a prior, a low-level branch, a generator.

    Parameters
    ----------
    parts : ModelParts
    generator : str, optional
        Name of a generator; the model's own by default.
    generator_options : dict, optional
        Settings of a published generator, such as ``{"dtype": "float32"}``.
    prior : str, optional
        ``none`` renders predictions as they are; the model's own prior by default.
    strength : float, optional
        1 starts from noise, 0 shows the low-level branch alone; the model's own by default.
    detail : float, optional
        Pixels below which a retrieved training picture lends detail, 0 for none; the model's own
        by default.
    caption : str, optional
        ``git:FOLDER`` or ``nearest:INDEX``: what says in a sentence what was decoded.
    blend : float, optional
        Share of the decoded low-level picture in what is shown; the model's own by default.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Examples
    --------
    ::

        from phosphene import Reconstructor

        model = Reconstructor.from_pretrained("MODEL")
        result = model.reconstruct("Xtest.npy", subject="01", seed=0)
        result.images.shape  # (n_items, n_samples, H, W, 3)
        result.save("OUT")
    """

    def __init__(
        self,
        parts: ModelParts,
        *,
        generator: str | None = None,
        generator_options: dict[str, Any] | None = None,
        prior: str | None = None,
        strength: float | None = None,
        detail: float | None = None,
        caption: str | None = None,
        blend: float | None = None,
        device: str = "auto",
    ) -> None:
        self.parts = parts
        self.device = choose_device(device)
        self.generator = choose_generator(parts, generator, generator_options)
        self.prior = choose_prior(parts, prior)
        self.strength = choose_strength(parts, strength, self.generator)
        self.blend = choose_blend(parts, blend)
        self.detail = choose_detail(parts, detail)
        self.captioner = None if caption is None else open_captioner(caption, parts.target)
        self.generator.captioner = self.captioner
        self._move()

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Reconstructor:
        """Move every part to a device.

        Parameters
        ----------
        device : str or torch.device, optional
            Where it stays by default.
        dtype : torch.dtype, optional
            That the generator denoises in; encoders, priors and autoencoders stay in float32.
        """
        if device is not None:
            self.device = choose_device(str(device))
        self._move(dtype)
        return self

    def _move(self, dtype: torch.dtype | None = None) -> None:
        for part in (*self.parts.components.values(), self.captioner):
            if hasattr(part, "to"):
                part.to(self.device)
        self.generator.to(self.device, dtype)

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Set the generator's bar over steps, with the arguments of tqdm."""
        self.generator.set_progress_bar_config(**settings)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        generator: str | None = None,
        generator_options: dict[str, Any] | None = None,
        prior: str | None = None,
        strength: float | None = None,
        detail: float | None = None,
        caption: str | None = None,
        blend: float | None = None,
        device: str = "auto",
    ) -> Reconstructor:
        """Load a known model, a model folder, ``local-dir:PATH`` or ``hf-hub:ID``."""
        parts = load_model(os.fspath(name))
        return cls(
            parts, generator=generator, generator_options=generator_options, prior=prior,
            strength=strength, detail=detail, caption=caption, blend=blend, device=device,
        )  # fmt: skip

    @classmethod
    def from_parts(
        cls,
        *,
        base: Reconstructor | str | os.PathLike[str] | None = None,
        strength: float | None = None,
        detail: float | None = None,
        caption: str | None = None,
        device: str = "auto",
        **parts: Any,
    ) -> Reconstructor:
        """Put a decoder together from parts, or swap some of another one's.

        Parameters
        ----------
        base : Reconstructor, str or path, optional
            Whose parts serve where none are given.
        strength, detail, caption, device
            As for the class.
        **parts
            By the names of :class:`~phosphene.pipelines.model_folder.ModelParts`: ``encoder``,
            ``target``, ``preprocessor``, ``protocol``, ``generator``, ``prior``, ``structure``,
            ... ; ``None`` leaves an optional part out.

        Raises
        ------
        InputError
            If parts do not fit together.
        """
        if base is not None and not isinstance(base, Reconstructor):
            base = cls(load_model(os.fspath(base)), device="cpu")
        own = None if base is None else base.parts
        made = assemble(own, parts)
        return cls(made, strength=strength, detail=detail, caption=caption, device=device)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model folder."""
        return save_model(folder, self.parts, {})

    def push_to_hub(self, repo_id: str, *, private: bool = True) -> str:
        """Upload the model folder, with its card, as ``OWNER/NAME``; return its address.

        A new repository is private unless asked for otherwise. ``from_pretrained`` takes it as
        ``hf-hub:OWNER/NAME``.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = self.save_pretrained(Path(place) / repo_id.rpartition("/")[2])
            return upload_folder(folder, repo_id, private=private)

    @property
    def settings(self) -> dict[str, Any]:
        """What renders the pictures, for the record of a run."""
        return {
            "generator": self.generator.name,
            "prior": "none" if self.prior is None else self.prior.name,
            "strength": self.strength,
            "detail": 0.0 if self.detail is None else self.detail.blur,
            **({"blend": self.blend} if self.blend else {}),
            "target": self.parts.target.spec.hash,
            **self.generator.settings,
            **({} if self.captioner is None else self.captioner.settings),
        }

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects the model knows."""
        return self.parts.preprocessor.subjects

    def read(
        self,
        source: str | os.PathLike[str],
        *,
        subject: str,
        trials: str | os.PathLike[str] | pd.DataFrame | None = None,
    ) -> Recording:
        """Read a recording on the voxels, or with the sensors, the model was trained on.

        EEG and MEG are converted as far as they can be; what was done is logged.
        """
        return read_for(self.parts.preprocessor, source, subject=subject, trials=trials)[0]

    def embed(self, recording: Recording) -> BrainEmbedding:
        """Return what the encoder predicts for each trial."""
        return predict(self.parts, self.parts.preprocessor.transform(recording))

    def with_captions(self, table: pd.DataFrame, embedding: BrainEmbedding) -> pd.DataFrame:
        """Return the table of items with a column ``decoded_caption``, where captions are on."""
        if self.captioner is None:
            return table
        return table.assign(decoded_caption=self.captioner.caption(embedding))

    def search_keys(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return embeddings (n, ...) of brains or pictures as they are compared, (n, d).

        By the cosine of these, a predicted embedding finds its picture among others.
        """
        projector = self.parts.retrieval
        return embedding.flatten(1) if projector is None else projector.project(embedding)

    def query_keys(self, embedding: BrainEmbedding) -> torch.Tensor:
        """Return decoded embeddings as they are compared with :meth:`search_keys` of pictures.

        Those of a head of its own, where the encoder has one for retrieval.
        """
        own = embedding.retrieval
        return self.search_keys(embedding.main) if own is None else own

    def render(
        self,
        embedding: BrainEmbedding,
        seeds: np.ndarray[Any, Any],
        *,
        batch_size: int = DEFAULT_BATCH,
        num_inference_steps: int | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> Iterator[tuple[int, Pictures]]:
        """Yield ``(first item, pictures (n, n_samples, H, W, 3))`` batch by batch.

        Parameters
        ----------
        embedding : BrainEmbedding
        seeds : ndarray of shape (n_items, n_samples)
            Seed of each picture, from :func:`phosphene.seeds.item_seed`.
        batch_size : int
            Items rendered at a time.
        num_inference_steps, callback_on_step_end
            As for :meth:`reconstruct`.
        """
        rendering = replace(self.rendering, tell=callback_on_step_end)
        if callback_on_step_end is not None and not self.generator.tells_steps:
            raise UsageError(
                f"`callback_on_step_end` for the generator {self.generator.name}",
                expected="a generator that takes steps",
            )
        yield from rendering.batches(embedding, seeds, batch_size, num_inference_steps)

    @property
    def rendering(self) -> Rendering:
        """How pictures are made of embeddings."""
        return Rendering(
            self.generator,
            self.prior,
            self.strength,
            None if self.parts.branch is None else partial(start_of, self.parts, self.generator),
            self.detail if self.generator is self.parts.generator else None,
            self.parts.features_target,
            self.blend,
            partial(lowlevel_pictures, self.parts) if self.blend else None,
        )

    def reconstruct(
        self,
        recording: Recording | str | os.PathLike[str],
        *,
        subject: str,
        seed: int = 0,
        samples: int = 1,
        average: Average = "none",
        batch_size: int = DEFAULT_BATCH,
        num_inference_steps: int | None = None,
        trials: str | os.PathLike[str] | pd.DataFrame | None = None,
        callback_on_step_end: StepEnd | None = None,
    ) -> Reconstruction:
        """Turn a recording into pictures.

        Parameters
        ----------
        recording : Recording or path
            fMRI betas (n_trials, n_voxels), epochs of EEG or MEG (n_trials, n_chans, n_times),
            or a file or folder that holds them.
        subject : str
            Label of a subject the model knows.
        seed : int
            With subject, trial and sample it fixes each picture.
        samples : int
            Pictures per item.
        average : {"none", "stimulus"}
            Average the repetitions of each stimulus first.
        batch_size : int
            Items rendered at a time; it does not change the pictures.
        num_inference_steps : int, optional
            For generators that take steps.
        trials : path or DataFrame, optional
            Trials table of a recording that is read from a file.
        callback_on_step_end : callable, optional
            Called with number, time and latents after every step of a block of pictures.

        Returns
        -------
        Reconstruction
        """
        if not isinstance(recording, Recording):
            recording = self.read(recording, subject=subject, trials=trials)
        elif recording.subject != check_subject(subject):
            raise UsageError(f"a recording of subject {recording.subject} as subject {subject!r}")
        else:
            recording = conformed(self.parts.preprocessor, recording)
        if samples < 1 or batch_size < 1:
            raise UsageError(f"{samples} samples in batches of {batch_size}", "at least one each")
        items, table = items_of(recording, average)
        embedding = self.embed(items)
        seeds = picture_seeds(items, table, average=average, seed=seed, samples=samples)
        batches = self.render(
            embedding, seeds, batch_size=batch_size, num_inference_steps=num_inference_steps,
            callback_on_step_end=callback_on_step_end,
        )  # fmt: skip
        total = -(-len(items) // batch_size)
        images = np.concatenate(
            [pictures for _, pictures in progress(batches, label="rendering", total=total)]
        )
        run = describe_run(
            self.parts,
            recording,
            n_items=len(items),
            config={
                "subject": recording.subject,
                "seed": seed,
                "samples": samples,
                "average": average,
                "steps": num_inference_steps,
                **self.settings,
            },
        )
        return Reconstruction(
            images=images,
            embeddings=embedding_arrays(embedding),
            trials=self.with_captions(table, embedding),
            provenance=run,
            seeds=seeds,
        )
