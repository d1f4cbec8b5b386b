"""``phosphene evaluate audit``: what a dataset's test shares with its training, and confounds."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["audit"]


@guarded
def audit(
    dataset: Annotated[
        str | None, typer.Option(help="Folder written by `phosphene prepare`.")
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(help="Output of `reconstruct` on this dataset, to audit as well.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Compare embeddings too: local-dir:FOLDER, hf-hub:ID or pixels:28x1."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Table (.tsv) with a row per stimulus_id: categories, gaze."),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Column with the category. [concept or category]")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Name of a generator or network in use, may be repeated."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="File to write (.json).")] = None,
) -> None:
    """Look for test pictures in training, for copies of them, and for what else could decode.

    The last line counts test stimuli that also stand in the training set.
    """
    from phosphene.data.canonical import CanonicalDataset
    from phosphene.data.readers import read_trials
    from phosphene.errors import UsageError
    from phosphene.pipelines.evaluation.audit import audit_dataset, target_embeddings
    from phosphene.pipelines.reconstruction import Reconstruction

    if dataset is None:
        raise UsageError("--dataset is not given", expected="--dataset FOLDER")
    opened = CanonicalDataset.open(dataset)
    found = audit_dataset(
        opened,
        embeddings=None if target is None else target_embeddings(opened, target),
        labels=None if labels is None else read_trials(labels),
        category=category,
        parts=part or (),
        result=None if predictions is None else Reconstruction.load(predictions),
    )
    *lines, last = found.lines()
    for line in lines:
        typer.echo(line)
    if output is not None:
        found.file().save(output)
        typer.echo(f"audit: {output}")
    typer.echo(last)
