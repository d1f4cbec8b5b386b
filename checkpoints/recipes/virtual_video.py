"""Train the default video decoder: ``python -m phosphene.checkpoints.recipes.virtual_video``.

Keyframes come from the default picture model, which is named and not copied: only the linear
decoder of virtual subjects who watch movies is trained here. Stages leave what they made in the
working folder; a stage whose result is there is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phosphene.checkpoints.recipes.running import publish_weights, run_stages
from phosphene.config import Config

__all__ = ["STAGES", "VideoRecipe"]


class VideoRecipe(Config):
    """Sizes of everything; the defaults are those of the weights that are shipped."""

    subjects: tuple[str, ...] = ("01",)
    preset: str = "nsd-7t"
    tr: float = 1.0
    # Seeds; each shows as many movies as the next lines say.
    parts: tuple[int, ...] = tuple(range(1, 20))
    training_movies: int = 14
    repetitions: int = 2  # showings of training movies, as real recordings have
    validation_seed: int = 0
    validation_movies: int = 6
    validation_repetitions: int = 10  # as test movies are shown
    seconds: float = 100.0
    pictures: str = "virtual-fmri"
    step: float = 2.0  # of training clips: side by side
    delay: float = 5.0  # blood peaks 5 s after; keyframes are the middle of a clip
    window: float = 4.0
    rank: int = 192
    weigh: bool = True  # voxels by what they tell of each head
    flow_voxels: int = 600
    flow_units: int = 128
    flow_epochs: int = 25


def recordings(recipe: VideoRecipe, work: Path) -> list[Path]:
    """Simulate the training and validation runs of every subject."""
    from phosphene.data.virtual.movies.subject import MovieSubject
    from phosphene.data.virtual.movies.writing import MoviePlan, write_movie_experiment

    plans = {
        str(seed): MoviePlan(
            movies=0,
            training_movies=recipe.training_movies,
            repetitions=recipe.repetitions,
            seconds=recipe.seconds,
            seed=seed,
        )
        for seed in recipe.parts
    }
    plans["validation"] = MoviePlan(
        movies=0,
        validation_movies=recipe.validation_movies,
        repetitions=recipe.validation_repetitions,
        seconds=recipe.seconds,
        seed=recipe.validation_seed,
    )
    folders = []
    for label in recipe.subjects:
        subject = MovieSubject(label, preset=recipe.preset, tr=recipe.tr)
        for name, plan in plans.items():
            folder = work / f"recordings-{label}-{name}"
            folders.append(folder)
            if not (folder / "dataset_description.json").is_file():
                write_movie_experiment(folder, subject, plan)
    return folders


def decoder(recipe: VideoRecipe, work: Path) -> Path:
    """Fit the decoder with ``phosphene train video``."""
    from phosphene.pipelines.training.video import VideoTrainingConfig, train_video

    if (work / "virtual-video" / "model_index.json").is_file():
        return work / "virtual-video"
    config = VideoTrainingConfig(
        dataset=tuple(str(folder) for folder in recordings(recipe, work)),
        output=str(work / "virtual-video"),
        subjects=recipe.subjects,
        pictures=recipe.pictures,
        step=recipe.step,
        delay=recipe.delay,
        window=recipe.window,
        average="stimulus",
        flow_voxels=recipe.flow_voxels,
        flow_units=recipe.flow_units,
        flow_epochs=recipe.flow_epochs,
        rank=recipe.rank,
        weigh=recipe.weigh,
    )
    folder, summary = train_video(config)
    for name, value in summary.items():
        print(f"{name} {value:.4g}")
    return folder


def publish(recipe: VideoRecipe, work: Path) -> Path:
    """Copy the model beside the registry and enter its identity there."""
    minutes = len(recipe.parts) * recipe.training_movies * recipe.seconds / 60
    return publish_weights(
        work / "virtual-video",
        modality="fmri-video",
        description=f"virtual subjects {', '.join(recipe.subjects)} ({recipe.preset}, TR "
        f"{recipe.tr:g} s), {minutes:.0f} minutes of moving scenes shown {recipe.repetitions} "
        "times; never human data",
    )


STAGES: dict[str, Callable[[VideoRecipe, Path], Any]] = {
    "recordings": recordings,
    "decoder": decoder,
    "publish": publish,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    run_stages(
        VideoRecipe(), STAGES, words=__doc__, work="phosphene-video-recipe", arguments=arguments
    )


if __name__ == "__main__":
    main()
