"""``phosphene prepare cc2017`` and its neighbours: recordings under movies and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["register"]

Output = Annotated[str | None, typer.Option(help="New folder, or a dataset to add subjects to.")]
Subjects = Annotated[list[str] | None, typer.Option(help="Label; may be repeated. [all]")]
DType = Annotated[str, typer.Option(help="float32 or float16 on disk.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``phosphene prepare``."""
    app.command("cc2017")(cc2017)
    app.command("hcp7t")(hcp7t)
    app.command("algonauts2021")(algonauts2021)
    app.command("bold-moments")(bold_moments)
    app.command("seed-dv")(seed_dv)


@guarded
def cc2017(
    source: Annotated[
        str | None,
        typer.Option(help="Folder video_fmri_dataset, the one above it, or the .pt files."),
    ] = None,
    output: Output = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label (01 is subject1); may be repeated. [all]")
    ] = None,
    form: Annotated[str, typer.Option(help="auto, cifti, mni or tensors (.pt).")] = "auto",
    movies: Annotated[
        str | None, typer.Option(help="Folder of seg1.mp4, ... [stimuli/ below the source]")
    ] = None,
    mask: Annotated[
        str,
        typer.Option(
            help="reproducible (between showings of training segments), all, or auto: "
            "reproducible where that can be tested."
        ),
    ] = "auto",
    alpha: Annotated[float, typer.Option(help="p of reproducible voxels, corrected.")] = 0.05,
    roi: Annotated[
        str | None, typer.Option(help="Voxel mask for volumes (mni). [voxels that vary]")
    ] = None,
    validation: Annotated[
        int, typer.Option(help="Training segments, the last ones, held out for validation.")
    ] = 2,
    untrimmed: Annotated[
        bool,
        typer.Option("--untrimmed", help="Keep every volume, not only the usual 240 of a run."),
    ] = False,
    dtype: DType = "float16",
) -> None:
    """Read CC2017 (Wen et al. 2018); volumes keep their second of the movie, nothing is shifted."""
    from phosphene.data.movies.cc2017_prepare import CC2017Settings, prepare_cc2017

    places = _places(source, output)
    settings = CC2017Settings(
        subjects=_numbers(subject),
        form=form,
        mask=mask,
        alpha=alpha,
        roi=roi,
        validation=validation,
        trim=not untrimmed,
        movies=None if movies is None else Path(movies),
        dtype=dtype,
    )
    dataset, notes = prepare_cc2017(*places, settings)
    _tell(dataset.root, notes)


@guarded
def hcp7t(
    source: Annotated[
        str | None, typer.Option(help="Folder of subjects (100610, ...), or of one subject.")
    ] = None,
    output: Output = None,
    subject: Subjects = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="What follows the run in names of files, where there are several: "
            "_Atlas_1.6mm_MSMAll_hp2000_clean."
        ),
    ] = None,
    movies: Annotated[
        str | None, typer.Option(help="Folder of 7T_MOVIE1_CC1_v2.mp4, ... [below the source]")
    ] = None,
    roi: Annotated[
        str | None, typer.Option(help="Areas: ATLAS.dlabel.nii:1,2. [both cortices]")
    ] = None,
    test: Annotated[int, typer.Option(help="Number of the movie held out for the test.")] = 4,
    validation: Annotated[
        int, typer.Option(help="Number of the movie held out for validation.")
    ] = 3,
    onset: Annotated[
        float, typer.Option(help="Seconds after the first volume at which a movie begins.")
    ] = 0.0,
    dtype: DType = "float16",
) -> None:
    """Read the movie runs of the Human Connectome Project at 7 T, without the film they share."""
    from phosphene.data.movies.hcp7t import HCP7TSettings, prepare_hcp7t
    from phosphene.names import check_subject

    settings = HCP7TSettings(
        subjects=tuple(check_subject(label) for label in subject or ()),
        variant=variant,
        roi=roi,
        movies=None if movies is None else Path(movies),
        test=test,
        validation=validation,
        onset=onset,
        dtype=dtype,
    )
    dataset, notes = prepare_hcp7t(*_places(source, output), settings)
    _tell(dataset.root, notes)


@guarded
def algonauts2021(
    source: Annotated[
        str | None, typer.Option(help="Folder participants_data_v2021, or the one above it.")
    ] = None,
    output: Output = None,
    subject: Subjects = None,
    track: Annotated[
        str, typer.Option(help="mini (nine areas), full (whole brain), or auto: what is there.")
    ] = "auto",
    area: Annotated[
        list[str] | None, typer.Option(help="Area of the mini track; may be repeated. [all]")
    ] = None,
    movies: Annotated[
        str | None, typer.Option(help="Folder of the clips. [AlgonautsVideos268_All_30fpsmax]")
    ] = None,
    validation: Annotated[
        int, typer.Option(help="Movies of fifty clips, held out for validation.")
    ] = 2,
    test: Annotated[int, typer.Option(help="Movies of fifty clips, held out for the test.")] = 2,
    fps: Annotated[float, typer.Option(help="Frames per second of the movies.")] = 10.0,
    size: Annotated[int, typer.Option(help="Side of the movies in pixels.")] = 128,
    dtype: DType = "float32",
) -> None:
    """Read Algonauts 2021: responses to clips of 3 s, laid out as movies; delay 0, window 3 s."""
    from phosphene.data.movies.algonauts2021 import Algonauts2021Settings, prepare_algonauts2021

    settings = Algonauts2021Settings(
        subjects=_numbers(subject),
        track=track,
        areas=tuple(area or ()),
        movies=None if movies is None else Path(movies),
        validation=validation,
        test=test,
        fps=fps,
        size=size,
        dtype=dtype,
    )
    dataset, notes = prepare_algonauts2021(*_places(source, output), settings)
    _tell(dataset.root, notes)


@guarded
def bold_moments(
    source: Annotated[
        str | None, typer.Option(help="Folder of ds005165, or any with its prepared betas.")
    ] = None,
    output: Output = None,
    subject: Subjects = None,
    form: Annotated[
        str,
        typer.Option(help="areas, mni, fslr32k, fsaverage, or auto: the first that is there."),
    ] = "auto",
    area: Annotated[
        list[str] | None,
        typer.Option(help="Area, V1v or lV1v; may be repeated. [all but BMDgeneral]"),
    ] = None,
    movies: Annotated[
        str | None, typer.Option(help="Folder of 0001.mp4, ... [stimulus_set/mp4_h264]")
    ] = None,
    validation: Annotated[
        int, typer.Option(help="Movies of fifty training clips, held out for validation.")
    ] = 2,
    fps: Annotated[float, typer.Option(help="Frames per second of the movies.")] = 10.0,
    size: Annotated[int, typer.Option(help="Side of the movies in pixels.")] = 128,
    dtype: DType = "float32",
) -> None:
    """Read BOLD Moments: responses to clips of 3 s, laid out as movies; delay 0, window 3 s."""
    from phosphene.data.movies.bold_moments import BoldMomentsSettings, prepare_bold_moments

    settings = BoldMomentsSettings(
        subjects=_numbers(subject),
        form=form,
        areas=tuple(area or ()),
        movies=None if movies is None else Path(movies),
        validation=validation,
        fps=fps,
        size=size,
        dtype=dtype,
    )
    dataset, notes = prepare_bold_moments(*_places(source, output), settings)
    _tell(dataset.root, notes)


@guarded
def seed_dv(
    source: Annotated[
        str | None, typer.Option(help="Folder with Segmented_Rawf_200Hz_2s or EEG.")
    ] = None,
    output: Output = None,
    subject: Subjects = None,
    validation: Annotated[
        list[int] | None, typer.Option(help="Block held out for validation. [6]")
    ] = None,
    test: Annotated[list[int] | None, typer.Option(help="Block held out for the test. [7]")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Concepts of the blocks, .npy (7, 40). [found by name]")
    ] = None,
    movies: Annotated[
        str | None, typer.Option(help="Folder of 1st_10min.mp4, ... [Video below the source]")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the middle frames in pixels.")] = 256,
) -> None:
    """Read SEED-DV (EEG under clips), split by blocks alone; its cue confounds every result."""
    from phosphene.data.movies.seed_dv import SeedDVSettings, prepare_seed_dv

    settings = SeedDVSettings(
        subjects=_numbers(subject),
        validation=(6,) if validation is None else tuple(validation),
        test=(7,) if test is None else tuple(test),
        labels=None if labels is None else Path(labels),
        movies=None if movies is None else Path(movies),
        size=size,
    )
    dataset, notes = prepare_seed_dv(*_places(source, output), settings)
    _tell(dataset.root, notes)


def _places(source: str | None, output: str | None) -> tuple[str, str]:
    from phosphene.errors import UsageError

    for flag, value in (("--source", source), ("--output", output)):
        if value is None:
            raise UsageError(f"{flag} is not given", expected=f"{flag} FOLDER")
    return str(source), str(output)


def _numbers(labels: list[str] | None) -> tuple[str, ...]:
    """Return labels of two digits: ``subject1``, ``sub-1`` and ``1`` are ``01``."""
    from phosphene.names import check_subject

    bare = [label.removeprefix("subject").removeprefix("sub-") for label in labels or ()]
    return tuple(check_subject(label.zfill(2)) for label in bare)


def _tell(root: Path, notes: list[str]) -> None:
    for note in notes:
        typer.echo(note)
    typer.echo(f"dataset: {root}")
