"""Train the default video decoder: ``python -m phosphene.checkpoints.recipes.virtual_video``.

Keyframes come from the default picture model, which is named and not copied: only the linear
decoder of virtual subjects who watch movies is trained here. Stages leave what they made in the
working folder; a stage whose result is there is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phosphene.config import Config

__all__ = ["STAGES", "VideoRecipe"]


class VideoRecipe(Config):
    """Sizes of everything; the defaults are those of the weights that are shipped."""

    subjects: tuple[str, ...] = ("01",)
    preset: str = "nsd-7t"
    tr: float = 1.0
    parts: tuple[int, ...] = (1,)  # seeds; each shows as many movies as the next lines say
    training_movies: int = 14
    validation_movies: int = 2
    seconds: float = 100.0
    pictures: str = "virtual-fmri"
    step: float = 2.0  # of training clips: side by side
    rank: int = 96
    weigh: bool = False  # voxels by what they tell of each head


def recordings(recipe: VideoRecipe, work: Path) -> list[Path]:
    """Simulate the training and validation runs of every subject."""
    from phosphene.data.virtual.movies.subject import MovieSubject
    from phosphene.data.virtual.movies.writing import MoviePlan, write_movie_experiment

    folders = []
    for label in recipe.subjects:
        subject = MovieSubject(label, preset=recipe.preset, tr=recipe.tr)
        for seed in recipe.parts:
            folder = work / f"recordings-{label}-{seed}"
            folders.append(folder)
            if (folder / "dataset_description.json").is_file():
                continue
            plan = MoviePlan(
                movies=0,
                training_movies=recipe.training_movies,
                validation_movies=recipe.validation_movies,
                seconds=recipe.seconds,
                seed=seed,
            )
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
        rank=recipe.rank,
        weigh=recipe.weigh,
    )
    folder, summary = train_video(config)
    for name, value in summary.items():
        print(f"{name} {value:.4g}")
    return folder


def publish(recipe: VideoRecipe, work: Path) -> Path:
    """Copy the model beside the registry and enter its identity there."""
    import shutil

    import yaml

    from phosphene.checkpoints.registry import HERE
    from phosphene.storage import hash_file, write_text

    made, place = work / "virtual-video", HERE / "weights" / "virtual-video"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made, place)
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    minutes = len(recipe.parts) * recipe.training_movies * recipe.seconds / 60
    models = yaml.safe_load((HERE / "models.yaml").read_text(encoding="utf-8")) or {}
    models["virtual-video"] = {
        "modality": "fmri-video",
        "source": "package:weights/virtual-video",
        "licence": "Apache-2.0",
        "description": f"virtual subjects {', '.join(recipe.subjects)} ({recipe.preset}, TR "
        f"{recipe.tr:g} s), {minutes:.0f} minutes of moving scenes; never human data",
        "sha256": hash_file(place / "model_index.json"),
        "megabytes": round(size / 1e6, 1),
        "default": True,
    }
    write_text(HERE / "models.yaml", yaml.safe_dump(models, sort_keys=True))
    return place


STAGES: dict[str, Callable[[VideoRecipe, Path], Any]] = {
    "recordings": recordings,
    "decoder": decoder,
    "publish": publish,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    import argparse
    import logging
    import time

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("phosphene-video-recipe"))
    parser.add_argument("--stage", choices=list(STAGES), action="append")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    for name in options.stage or STAGES:
        start = time.perf_counter()
        STAGES[name](VideoRecipe(), options.work)
        print(f"{name}: {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
