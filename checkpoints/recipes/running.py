"""Run the stages of a recipe, and enter what they made into the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["publish_weights", "run_stages"]


def run_stages(
    recipe: Any,
    stages: Mapping[str, Callable[[Any, Path], Any]],
    *,
    words: str | None,
    work: str,
    modality: str = "",
    arguments: list[str] | None = None,
) -> None:
    """Run a recipe from the command line, stage by stage.

    Parameters
    ----------
    recipe : Config
    stages : mapping of str to callable
        In order; each takes the recipe and the working folder.
    words : str, optional
        What the command says of itself.
    work : str
        Working folder by default.
    modality : str
        The one word the command takes first; none where it is empty.
    arguments : list of str, optional
        Of the command line.
    """
    import argparse
    import logging
    import time

    parser = argparse.ArgumentParser(description=words)
    if modality:
        parser.add_argument("modality", choices=[modality])
    parser.add_argument("--work", type=Path, default=Path(work))
    parser.add_argument("--stage", choices=list(stages), action="append")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    for name in options.stage or stages:
        start = time.perf_counter()
        stages[name](recipe, options.work)
        print(f"{name}: {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


def publish_weights(made: Path, *, modality: str, description: str) -> Path:
    """Copy a model beside the registry, under its own name, and enter its identity there.

    Parameters
    ----------
    made : Path
        Model folder.
    modality : str
        For whose recordings it is the default.
    description : str
        Who it was trained on.
    """
    import shutil

    import yaml

    from phosphene.checkpoints.registry import HERE
    from phosphene.storage import hash_file, write_text

    place = HERE / "weights" / made.name
    copy = place.with_name(f".{made.name}")  # whole before the old one goes
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(made, copy)
    shutil.rmtree(place, ignore_errors=True)
    copy.rename(place)
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    models = yaml.safe_load((HERE / "models.yaml").read_text(encoding="utf-8")) or {}
    models[made.name] = {
        "modality": modality,
        "source": f"package:weights/{made.name}",
        "licence": "Apache-2.0",
        "description": description,
        "sha256": hash_file(place / "model_index.json"),
        "megabytes": round(size / 1e6, 1),
        "default": True,
    }
    write_text(HERE / "models.yaml", yaml.safe_dump(models, sort_keys=True))
    return place
