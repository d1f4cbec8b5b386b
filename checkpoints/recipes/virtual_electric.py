"""Train the small models of virtual EEG and MEG.

    python -m phosphene.checkpoints.recipes.virtual_electric eeg --work DIR

They share target, generator and the network of features with ``virtual-fmri`` and name it: only
preprocessing, encoder, prior and the keys of lenders are their own. Stages leave what they made
in the working folder and are not done twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from phosphene.checkpoints.recipes.running import publish_weights
from phosphene.checkpoints.recipes.scene_pictures import encoded_pictures, scene_pictures
from phosphene.checkpoints.recipes.virtual_recordings import TRAINING_SEED, VALIDATION_SEED
from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.data.prepare import write_subject
from phosphene.data.scenes import Scene, sample_scenes
from phosphene.data.virtual.electric import HEAD_HASH, VirtualHead
from phosphene.trials import complete_trials
from phosphene.types import Recording

__all__ = ["ElectricRecipe", "electric_recordings"]

TEST_SEED = 7
"""Of test scenes, and of order and noise of the sessions that show them."""


class ElectricRecipe(Config):
    """Sizes of everything; the defaults are those of the weights that are shipped."""

    modality: Literal["eeg", "meg"] = "eeg"
    subjects: tuple[str, ...] = ("01",)
    scenes: int = 6_000  # to each subject, for training
    repetitions: int = 4
    validation_scenes: int = 200  # in sessions of their own, shown as often as test pictures are
    validation_repetitions: int = 80
    rendered: int = 24  # of these, to choose how to render
    lending_scenes: int = 40_000  # of which detail is borrowed
    encoder: str = "canonical"

    @property
    def preset(self) -> str:
        """Of the sensors."""
        return {"eeg": "eeg-17", "meg": "meg-271"}[self.modality]


def electric_recordings(
    folder: Path,
    subjects: list[str],
    preset: str,
    *,
    scenes: int,
    repetitions: int,
    test_scenes: int = 0,
    test_repetitions: int = 0,
    validation_scenes: int = 0,
    validation_repetitions: int = 0,
) -> CanonicalDataset:
    """Simulate what is missing of a dataset: the first training scenes, and fresh test scenes.

    Test and validation scenes are shown in sessions of their own. Values are kept in float16, in
    microvolts or femtotesla.

    Parameters
    ----------
    folder : Path
        Of the dataset; rendered scenes are kept beside it.
    subjects : list of str
        Labels of virtual subjects; those the dataset has already are kept.
    preset : str
        ``eeg-17``, ``eeg-63`` or ``meg-271``.
    scenes, repetitions : int
        Training pictures, and showings of each.
    test_scenes, test_repetitions : int
    validation_scenes, validation_repetitions : int
        Without any, a training holds training pictures out.
    """
    shown = {"train": scene_pictures(folder.parent, scenes, split="train")}
    drawn: dict[str, list[Scene]] = {"train": list(sample_scenes(0, scenes))}
    if validation_scenes:
        shown["validation"] = scene_pictures(folder.parent, validation_scenes, split="validation")
        drawn["validation"] = list(sample_scenes(0, validation_scenes, split="validation"))
    if test_scenes:
        drawn["test"] = list(sample_scenes(0, test_scenes, seed=TEST_SEED, split="test"))
        shown["test"] = _rendered(drawn["test"])
    names = {split: [f"{split}-{row:06d}" for row in range(len(shown[split]))] for split in shown}
    stimuli = (
        [name for split in shown for name in names[split]],
        np.concatenate([np.asarray(shown[split]) for split in shown]),
    )
    counts = {
        "train": (repetitions, TRAINING_SEED),
        "validation": (validation_repetitions, VALIDATION_SEED),
        "test": (test_repetitions, TEST_SEED),
    }
    for label in subjects:
        done = (folder / "dataset.json").is_file()
        if done and label in CanonicalDataset.open(folder).file.subjects:
            continue
        head = VirtualHead(label, preset)
        parts: list[Recording] = []
        for split in shown:
            drives = head.drives(drawn[split], np.asarray(shown[split]))
            times, seed = counts[split]
            simulation = head.simulate(drives, repetitions=times, seed=seed)
            recording = simulation.recording(names[split], [split] * len(names[split]))
            parts.append(_following(recording, parts))
        table = pd.concat([part.trials for part in parts], ignore_index=True)
        whole = replace(
            parts[0],
            data=np.concatenate([part.data for part in parts]),
            trials=complete_trials(table, len(table)),
        )
        write_subject(
            folder, whole, stimuli, name=f"virtual {preset}",
            licence="Apache-2.0 (simulated, no human data)",
            source=f"virtual subject {label}, heads {HEAD_HASH[:16]}", dtype="float16",
        )  # fmt: skip
    return CanonicalDataset.open(folder)


def _rendered(scenes: list[Scene]) -> Pictures:
    from phosphene.data.scenes import render

    pictures: Pictures = render(scenes, 64).images
    return pictures


def _following(recording: Recording, earlier: list[Recording]) -> Recording:
    """Number sessions and trials on from those of earlier recordings."""
    sessions = sum(part.trials["session"].nunique() for part in earlier)
    trials = recording.trials.copy()
    trials["session"] = [f"{sessions + int(session):02d}" for session in trials["session"]]
    trials["trial"] = np.arange(len(trials)) + sum(len(part) for part in earlier)
    return replace(recording, trials=trials)


def recordings(recipe: ElectricRecipe, work: Path) -> CanonicalDataset:
    """Simulate training and validation recordings of every subject."""
    return electric_recordings(
        work / recipe.preset,
        list(recipe.subjects),
        recipe.preset,
        scenes=recipe.scenes,
        repetitions=recipe.repetitions,
        validation_scenes=recipe.validation_scenes,
        validation_repetitions=recipe.validation_repetitions,
    )


def decoder(recipe: ElectricRecipe, work: Path) -> Path:
    """Train with ``phosphene train``; target and generator stay in ``virtual-fmri``."""
    from phosphene.checkpoints.registry import model_folder
    from phosphene.pipelines.training.electric_decoder import (
        ElectricDecoderConfig,
        train_electric_decoder,
    )
    from phosphene.pipelines.training.electric_network import ElectricNetwork
    from phosphene.pipelines.training.materials import keep_targets, load_target

    dataset = recordings(recipe, work)
    features = load_target(str(model_folder("virtual-fmri") / "features_target"))
    lenders = encoded_pictures(
        work / "features.safetensors",
        features,
        scene_pictures(work, recipe.lending_scenes, split="train"),
    )
    validation = encoded_pictures(
        work / "features-validation.safetensors",
        features,
        scene_pictures(work, recipe.validation_scenes, split="validation"),
    )
    # Lenders begin with the pictures that were shown: these are not looked at twice.
    known = torch.cat([lenders[: recipe.scenes], validation]).float()
    keep_targets(dataset, features, sorted(dataset.stimuli["stimulus_id"]), known)
    config = ElectricDecoderConfig(
        dataset=str(dataset.root),
        output=str(work / f"virtual-{recipe.modality}"),
        subjects=recipe.subjects,
        encoder=recipe.encoder,
        network=ElectricNetwork(components=128, window=(0.04, 0.44)),
        prior="identity",
        strengths=(1.0,),
        validation_pictures=recipe.rendered,
        draws=2,
        blurs=(8.0, 24.0),
        keep_base=True,
        half=True,
    )
    folder, summary = train_electric_decoder(config, resume=True, scenes=lenders)
    for name, value in summary.items():
        print(f"{name} {value:.4g}")
    return folder


def publish(recipe: ElectricRecipe, work: Path) -> Path:
    """Copy the model beside the registry and enter its identity there."""
    return publish_weights(
        work / f"virtual-{recipe.modality}",
        modality=recipe.modality,
        description=f"virtual subjects {', '.join(recipe.subjects)} ({recipe.preset}), "
        f"{recipe.scenes} scenes x {recipe.repetitions}, with parts of virtual-fmri; never human "
        "data",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    import argparse
    import logging

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modality", choices=["eeg", "meg"])
    parser.add_argument("--work", type=Path, default=Path("phosphene-recipe"))
    parser.add_argument("--publish", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    recipe = ElectricRecipe(modality=options.modality)
    options.work.mkdir(parents=True, exist_ok=True)
    print(decoder(recipe, options.work))
    if options.publish:
        print(publish(recipe, options.work))


if __name__ == "__main__":
    main()
