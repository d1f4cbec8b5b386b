"""How an evaluation is written down: items, protocol, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phosphene.pipelines.evaluation.background import Background
from phosphene.pipelines.evaluation.config import EvaluateConfig
from phosphene.pipelines.evaluation.predictions import Item
from phosphene.pipelines.evaluation.shown import Shown
from phosphene.pipelines.versions import package_versions
from phosphene.schemas import EvaluatedItem, EvaluationFile, EvaluationProtocol
from phosphene.storage import hash_bytes

__all__ = ["evaluation_record", "evaluation_versions", "item_record", "protocol_record"]

PACKAGES = ("torchmetrics", "torchvision", "scikit-image", "open_clip_torch", "lpips")


def item_record(item: Item, hashes: Mapping[str, str], root: Path) -> EvaluatedItem:
    """Return an item as it is stored, its files below the folder of predictions."""
    return EvaluatedItem(
        key=item.key,
        picture=item.picture,
        picture_hash=hashes[item.picture],
        subject=item.subject,
        category=item.category,
        files=[path.relative_to(root).as_posix() for path in item.files],
        source_trials=list(item.source_trials),
    )


def protocol_record(
    items: Sequence[Item],
    shown: Shown,
    background: Background,
    hashes: Mapping[str, str],
    n_missing: int,
    size_rule: str,
) -> EvaluationProtocol:
    """Return on which pictures and by which rules a result was found."""
    content = "".join(f"{name}={hashes[name]};" for name in sorted(hashes))
    pictures_hash = hash_bytes(content.encode())[:16]
    training = background.training
    return EvaluationProtocol(
        truth=shown.name,
        truth_hash=pictures_hash if shown.dataset is None else shown.dataset.file.hash,
        split=shown.split,
        pictures_hash=pictures_hash,
        averaging=background.averaging,
        subjects=sorted({item.subject for item in items if item.subject is not None}),
        n_pictures=len(hashes),
        n_items=len(items),
        n_samples=len(items[0].files),
        n_missing=n_missing,
        size_rule=size_rule,
        transductive=None if training is None else training.transductive,
        training=training,
    )


def evaluation_record(
    config: EvaluateConfig, background: Background, **found: Any
) -> EvaluationFile:
    """Return a result with what every result says of itself.

    Parameters
    ----------
    config : EvaluateConfig
    background : Background
    **found
        Fields of :class:`EvaluationFile` that were found out.
    """
    known: dict[str, Any] = {
        "name": config.name or background.name,
        "predictions": "predictions" if config.model is not None else str(config.predictions),
        "suite": "chosen metrics" if config.metrics else config.suite,
        "config": config.model_dump(mode="json", exclude={"output"}),
        "model": background.model,
        "model_hash": background.model_hash,
        "audit": background.audit,
        "n_seen_in_training": None,
        "noise_ceiling": background.noise_ceiling,
        "seeds": {"seed": config.seed, "bootstrap": 0},
        "versions": evaluation_versions(),
    }
    return EvaluationFile(**(known | found))


def evaluation_versions() -> dict[str, str]:
    """Return versions of all that metrics depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = package_versions()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
