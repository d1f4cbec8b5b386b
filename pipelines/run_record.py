"""The record of a run: model, input, versions and protocol."""

from __future__ import annotations

import datetime
from typing import Any

from phosphene.pipelines.items import averaging_words, recording_hash
from phosphene.pipelines.model_folder import ModelParts
from phosphene.pipelines.versions import package_versions
from phosphene.schemas import RunFile
from phosphene.types import Recording

__all__ = ["describe_run"]


def describe_run(
    parts: ModelParts, recording: Recording, *, n_items: int, config: dict[str, Any]
) -> RunFile:
    """Return the provenance of a run over this recording.

    Parameters
    ----------
    parts : ModelParts
    recording : Recording
        As it was read, before any averaging.
    n_items : int
    config : dict
        Resolved settings; ``samples`` and ``average`` among them.
    """
    return RunFile(
        command="reconstruct",
        config=config,
        model=parts.name,
        model_hash=parts.hash,
        input_hash=recording_hash(recording),
        n_items=n_items,
        n_samples=int(config["samples"]),
        versions=package_versions(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        protocol=parts.protocol.model_copy(
            update={"averaging_test": averaging_words(str(config["average"]))}
        ),
    )
