"""``phosphene plan``: what more trials, sessions and repetitions would bring."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import Seed, Subject

__all__ = ["plan"]


@guarded
def plan(
    pilot: Annotated[
        str | None, typer.Option(help="Dataset of a pilot, written by `phosphene prepare`.")
    ] = None,
    subject: Subject = None,
    target: Annotated[
        str, typer.Option(help="What is decoded: pixels:16x3, local-dir:FOLDER, hf-hub:ID.")
    ] = "pixels:16x3",
    output: Annotated[
        str | None, typer.Option(help="Table to write (.tsv). [plan.tsv in the dataset]")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Extrapolate how well pictures are identified from a pilot's learning curve.

    Only training trials are used: the test set stays untouched.
    """
    from pathlib import Path

    from phosphene.data.canonical import CanonicalDataset
    from phosphene.errors import UsageError
    from phosphene.pipelines.evaluation.plan import make_plan
    from phosphene.storage import write_text

    if pilot is None:
        raise UsageError("--pilot is not given", expected="--pilot DATASET")
    dataset = CanonicalDataset.open(pilot)
    path = Path(output) if output else dataset.root / "plan.tsv"
    if path.suffix != ".tsv":
        raise UsageError(f"the table {path} ends in {path.suffix or 'nothing'}", "a name in .tsv")
    label = dataset.check_subject(subject) if subject else min(dataset.file.subjects)
    made = make_plan(dataset, label, target, seed=seed or 0)
    typer.echo(f"subject {label}: two-way identification of left-out training pictures, chance .5")
    for point in made.points:
        typer.echo(
            f"measured: {point.n_trials:.0f} trials, {point.repetitions} averaged in the test: "
            f"{point.accuracy:.3f}"
        )
    if made.new_or_again is not None:
        new, again = made.new_or_again
        typer.echo(
            f"with as many trials: {new:.3f} from different pictures, {again:.3f} from half of "
            "them twice"
        )
    for row in made.table.to_dict("records"):
        typer.echo(
            f"expected: {row['n_trials']} trials ({row['sessions']:g} sessions), "
            f"{row['test_repetitions']} averaged in the test: {row['accuracy']:.3f} "
            f"[{row['low']:.3f}, {row['high']:.3f}]"
        )
    write_text(path, made.table.round(4).to_csv(sep="\t", index=False))
    typer.echo(f"plan: {path}")
