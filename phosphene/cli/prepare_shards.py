"""``phosphene prepare shards``: a canonical dataset becomes webdataset shards."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["prepare_shards"]


@guarded
def prepare_shards(
    dataset: Annotated[str, typer.Argument(help="Folder written by `phosphene prepare`.")],
    output: Annotated[
        str | None, typer.Option(help="New or empty folder. [DATASET/shards]")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label of a subject; may be repeated. [all]")
    ] = None,
    trials_per_shard: Annotated[
        int, typer.Option(help="At most; shards are shared out among processes.")
    ] = 1000,
    no_stimuli: Annotated[
        bool, typer.Option("--no-stimuli", help="Leave the pictures out.")
    ] = False,
) -> None:
    """Divide a dataset into tar files that many machines can read, from disk or an address."""
    from pathlib import Path

    from phosphene.data.canonical import CanonicalDataset
    from phosphene.data.shards.writing import write_shards

    opened = CanonicalDataset.open(dataset)
    folder = Path(output) if output else opened.root / "shards"
    index = write_shards(
        opened,
        folder,
        subjects=subject,
        trials_per_shard=trials_per_shard,
        pictures=not no_stimuli,
    )
    n_trials = sum(len(one.rows) for one in index.shards)
    typer.echo(f"{n_trials} trials of {len(index.subjects)} subjects in {len(index.shards)} shards")
    typer.echo(f"shards: {folder}")
