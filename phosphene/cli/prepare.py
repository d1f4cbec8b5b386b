"""``phosphene prepare``: recordings and stimuli become a canonical dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import Subject

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Turn recordings and stimuli into a canonical dataset.",
)


@app.command("betas")
@app.command("arrays")
@guarded
def prepare(
    recordings: Annotated[
        str | None,
        typer.Option(
            help="One row or volume per trial: .npy, .npz[:KEY], NIfTI, .mgz, GIFTI, "
            "CIFTI or a BIDS folder of betas."
        ),
    ] = None,
    subject: Subject = None,
    output: Annotated[
        str | None, typer.Option(help="New folder, or a dataset to add the subject to.")
    ] = None,
    stimuli: Annotated[
        str | None,
        typer.Option(help="Pictures: a folder named by stimulus_id, or an array in trial order."),
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(
            help="TSV with session, run, trial, stimulus_id, repetition, split (train, "
            "validation, test); all optional."
        ),
    ] = None,
    modality: Annotated[str, typer.Option(help="fmri.")] = "fmri",
    roi: Annotated[
        str | None, typer.Option(help="Voxel mask, or ATLAS:LABELS such as atlas.nii.gz:1,2,3.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the recordings.")] = "unknown",
    dtype: Annotated[str, typer.Option(help="float32 or float16 on disk.")] = "float32",
) -> None:
    """Write a subject's recording, trials and stimuli in the canonical layout."""
    from pathlib import Path

    from phosphene.data.prepare import write_subject
    from phosphene.data.readers import read_recording
    from phosphene.errors import UsageError, check_option

    for flag, value in (("--recordings", recordings), ("--subject", subject), ("--output", output)):
        if value is None:
            raise UsageError(
                f"{flag} is not given",
                expected=f"{flag} VALUE",
                remedy="see `phosphene prepare arrays --help`",
            )
    check_option("modality", modality, ["fmri"])
    check_option("dtype", dtype, ["float16", "float32"])
    recording = read_recording(
        str(recordings), subject=str(subject), modality=modality, roi=roi, trials=trials
    )
    dataset = write_subject(
        str(output),
        recording,
        stimuli,
        name=name,
        licence=licence,
        source=Path(str(recordings)).name,
        dtype=dtype,  # type: ignore[arg-type]
    )
    splits = recording.trials["split"].value_counts()
    counts = ", ".join(f"{splits[s]} {s}" for s in ("train", "validation", "test") if s in splits)
    typer.echo(
        f"subject {recording.subject}: {len(recording)} trials ({counts}) x "
        f"{recording.data.shape[1]} voxels, {dataset.file.n_stimuli} different stimuli"
    )
    typer.echo(f"dataset: {dataset.root}")
