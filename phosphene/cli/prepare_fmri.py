"""``phosphene prepare nsd|bids|...``: public fMRI datasets and one's own scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import Seed
from phosphene.cli.prepare_check import check
from phosphene.cli.prepare_public import register_public
from phosphene.cli.spaced_lists import parse_numbers, spaced, split_values

__all__ = ["register"]

Source = Annotated[str | None, typer.Option(help="Folder that holds the dataset.")]
Output = Annotated[str, typer.Option(help="New folder, or a dataset to add subjects to.")]
Reliability = Annotated[
    float | None,
    typer.Option(help="Keep voxels whose signal-to-noise ratio in training pictures reaches it."),
]
Dtype = Annotated[str, typer.Option(help="float32 or float16 on disk.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``phosphene prepare``."""
    app.command("nsd", cls=spaced("--subjects", "--sessions", "--test-sessions"))(nsd)
    app.command("bids", cls=spaced("--subjects", "--trial-type", "--test"))(bids)
    app.command("check")(check)
    register_public(app)


def required(**flags: str | None) -> None:
    """Raise where a flag that a command cannot do without is not given."""
    from phosphene.errors import UsageError

    for name, value in flags.items():
        if value is None:
            raise UsageError(f"--{name} is not given", expected=f"--{name} FOLDER")


def tell(dataset: Any, notes: list[str], form: str | None = None) -> None:
    """Print what was written; the last line is the dataset's folder."""
    if form is not None:
        typer.echo(f"form: {form}; subjects: {', '.join(sorted(dataset.file.subjects))}")
    for subject, geometry in sorted(dataset.file.subjects.items()):
        mine = dataset.table[dataset.table["subject"] == subject]
        splits = mine["split"].value_counts()
        counts = ", ".join(
            f"{splits[name]} {name}" for name in ("train", "validation", "test") if name in splits
        )
        typer.echo(
            f"subject {subject}: {geometry.n_trials} trials ({counts}) x {geometry.shape[1]} "
            f"voxels, {mine['stimulus_id'].nunique()} different stimuli"
        )
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo(f"dataset: {dataset.root}")


@guarded
def nsd(
    source: Source = None,
    output: Output = "nsd-dataset",
    subjects: Annotated[
        list[str] | None, typer.Option(help="Labels, such as 01 02 05 07. [01 02 05 07]")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="Test pictures: 1000 (all shared ones) or 982 (no last 3 sessions)."),
    ] = "1000",
    sessions: Annotated[
        list[str] | None, typer.Option(help="Sessions to use, such as 1..40 or 1,2,5. [all]")
    ] = None,
    test_sessions: Annotated[
        list[str] | None,
        typer.Option(help="Sessions whose shared pictures test. [those of --sessions]"),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(help="official, mindeye1, mindeye2, brain-diffuser, brain-it. [recognised]"),
    ] = None,
    betas: Annotated[
        str | None, typer.Option(help="Version of the betas. [betas_fithrf_GLMdenoise_RR]")
    ] = None,
    space: Annotated[str, typer.Option(help="Space of the betas.")] = "func1pt8mm",
    roi: Annotated[
        str | None, typer.Option(help="Mask or ATLAS:LABELS in place of nsdgeneral above zero.")
    ] = None,
    stimuli: Annotated[
        str | None, typer.Option(help="nsd_stimuli.hdf5, where it lies elsewhere.")
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Do not copy the shown pictures.")
    ] = False,
    average: Annotated[
        bool, typer.Option("--average", help="One row per picture: the mean of its trials.")
    ] = False,
    validation: Annotated[int, typer.Option(help="Training pictures held out for validation.")] = 0,
    reliability: Reliability = None,
    dtype: Dtype = "float32",
    seed: Seed = 0,
) -> None:
    """Read the Natural Scenes Dataset in whichever form it lies there.

    Sessions are z-scored per voxel with their training trials alone.
    """
    from phosphene.data.nsd import NsdSettings, prepare_nsd
    from phosphene.errors import check_option

    required(source=source)
    settings = NsdSettings(
        protocol=protocol,
        sessions=parse_numbers(sessions, flag="--sessions"),
        test_sessions=parse_numbers(test_sessions, flag="--test-sessions"),
        form=form,
        betas=betas,
        space=space,
        roi=roi,
        stimuli=None if stimuli is None else Path(stimuli),
        pictures=not no_pictures,
        average=average,
        validation=validation,
        reliability=reliability,
        dtype=check_option("dtype", dtype, ["float16", "float32"]),  # type: ignore[arg-type]
        seed=seed or 0,
    )
    chosen = split_values(subjects) or ["01", "02", "05", "07"]
    dataset, found, notes = prepare_nsd(str(source), output, chosen, settings)
    tell(dataset, notes, found)


@guarded
def bids(
    source: Annotated[
        str | None,
        typer.Option(help="Dataset in BIDS form, or the folder that fMRIPrep wrote."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Label that stands after task-.")] = None,
    model: Annotated[
        str, typer.Option(help="lss (each trial against the rest) or lsa (all at once).")
    ] = "lss",
    output: Output = "bids-dataset",
    subjects: Annotated[
        list[str] | None,
        typer.Option("--subjects", "--subject", help="Labels, such as 01 02. [all]"),
    ] = None,
    raw: Annotated[
        str | None, typer.Option(help="Dataset with the events, where it lies elsewhere.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Space of fMRIPrep's series, such as T1w.")
    ] = None,
    roi: Annotated[
        str | None, typer.Option(help="Mask or ATLAS:LABELS. [in the brain in every run]")
    ] = None,
    stimuli: Annotated[
        str | None, typer.Option(help="Folder of pictures, named as the stimuli are.")
    ] = None,
    stimulus_column: Annotated[
        str | None, typer.Option(help="Column of the events that says what was shown.")
    ] = None,
    trial_type: Annotated[
        list[str] | None, typer.Option(help="Kinds of events that are trials. [all shown]")
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="Test trials: COLUMN=PATTERN, such as 'session=test*'."),
    ] = None,
    confounds: Annotated[
        str, typer.Option(help="auto, none, or names: motion,wm_csf,high_pass,compcor,...")
    ] = "auto",
    hrf: Annotated[str, typer.Option(help="Response: glover, spm, ... as in nilearn.")] = "glover",
    high_pass: Annotated[float, typer.Option(help="Cut-off of drifts in hertz.")] = 0.01,
    tr: Annotated[
        float | None, typer.Option(help="Repetition time in seconds. [as sidecars say]")
    ] = None,
    normalise: Annotated[
        str, typer.Option(help="Z-score within session, run or none, by training trials.")
    ] = "session",
    reliability: Reliability = None,
    betas: Annotated[
        str | None,
        typer.Option(help="New folder for test trials as volumes, to `reconstruct` from."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the recordings.")] = "unknown",
    dtype: Dtype = "float32",
) -> None:
    """Estimate single-trial betas from BOLD series with events: raw, or from fMRIPrep."""
    from phosphene.data.bold.prepare import BidsSettings, prepare_bids
    from phosphene.data.bold.single_trials import MODELS
    from phosphene.errors import UsageError, check_option

    required(source=source)
    if task is None:
        raise UsageError("--task is not given", expected="--task LABEL, as in task-LABEL")
    settings = BidsSettings(
        task=task.removeprefix("task-"),
        model=check_option("model", model, MODELS),
        space=space,
        raw=None if raw is None else Path(raw),
        roi=roi,
        confounds=confounds,
        hrf=hrf,
        high_pass=high_pass,
        tr=tr,
        stimulus_column=stimulus_column,
        kinds=split_values(trial_type) or None,
        test=split_values(test) or None,
        normalise=normalise,
        stimuli=stimuli,
        reliability=reliability,
        betas=None if betas is None else Path(betas),
        name=name,
        licence=licence,
        dtype=check_option("dtype", dtype, ["float16", "float32"]),  # type: ignore[arg-type]
    )
    dataset, notes = prepare_bids(str(source), output, split_values(subjects) or None, settings)
    tell(dataset, notes)
