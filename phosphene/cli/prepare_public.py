"""``phosphene prepare miyawaki2008|bold5000|god|things-fmri``: public fMRI datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.spaced_lists import spaced, split_values

if TYPE_CHECKING:
    from phosphene.data.public.writing import PublicSettings

__all__ = ["register_public"]

Output = Annotated[str, typer.Option(help="New folder, or a dataset to add subjects to.")]
Source = Annotated[str | None, typer.Option(help="Folder of a local copy in its official layout.")]
Subjects = Annotated[
    list[str] | None, typer.Option("--subjects", "--subject", help="Labels. [all]")
]
Roi = Annotated[str | None, typer.Option(help="Mask or ATLAS:LABELS. [the brain]")]
Stimuli = Annotated[str | None, typer.Option(help="Folder of the pictures. [below the source]")]
NoPictures = Annotated[bool, typer.Option("--no-pictures", help="Do not copy pictures.")]
Reliability = Annotated[
    float | None,
    typer.Option(help="Keep voxels whose signal-to-noise ratio in training pictures reaches it."),
]
Dtype = Annotated[str, typer.Option(help="float32 or float16 on disk.")]


def register_public(app: typer.Typer) -> None:
    """Add the commands to ``phosphene prepare``."""
    lists = spaced("--subjects", "--subject")
    app.command("miyawaki2008")(miyawaki2008)
    app.command("bold5000", cls=lists)(bold5000)
    app.command("god", cls=lists)(god)
    app.command("things-fmri", cls=lists)(things_fmri)


def _settings(
    subjects: list[str] | None,
    roi: str | None,
    stimuli: str | None,
    no_pictures: bool,
    reliability: float | None,
    dtype: str,
) -> PublicSettings:
    from phosphene.data.public.writing import PublicSettings
    from phosphene.errors import check_option

    return PublicSettings(
        subjects=split_values(subjects) or None,
        roi=roi,
        stimuli=None if stimuli is None else Path(stimuli),
        pictures=not no_pictures,
        reliability=reliability,
        dtype=check_option("dtype", dtype, ["float16", "float32"]),  # type: ignore[arg-type]
    )


def _tell(made: tuple[Any, list[str]]) -> None:
    from phosphene.cli.prepare_fmri import tell

    tell(*made)


@guarded
def miyawaki2008(
    source: Annotated[
        str | None, typer.Option(help="Folder with func, label and mask. [fetched by nilearn]")
    ] = None,
    output: Output = "miyawaki2008-dataset",
    roi: Roi = None,
    no_pictures: NoPictures = False,
    dtype: Dtype = "float32",
) -> None:
    """Read random patterns (training) and figures (test) of 10 x 10 squares."""
    from phosphene.data.public.miyawaki2008 import prepare_miyawaki2008

    settings = _settings(None, roi, None, no_pictures, None, dtype)
    _tell(prepare_miyawaki2008(source, output, settings))


@guarded
def bold5000(
    source: Source = None,
    output: Output = "bold5000-dataset",
    subjects: Subjects = None,
    roi: Roi = None,
    stimuli: Stimuli = None,
    no_pictures: NoPictures = False,
    dtype: Dtype = "float32",
) -> None:
    """Read the betas of release 2; repeated pictures test, those shown once train."""
    from phosphene.data.public.bold5000 import prepare_bold5000

    settings = _settings(subjects, roi, stimuli, no_pictures, None, dtype)
    _tell(prepare_bold5000(source, output, settings))


@guarded
def god(
    source: Source = None,
    output: Output = "god-dataset",
    subjects: Subjects = None,
    model: Annotated[str, typer.Option(help="lss or lsa, see `prepare bids`.")] = "lss",
    space: Annotated[
        str | None, typer.Option(help="Space of fMRIPrep's series, such as T1w.")
    ] = None,
    confounds: Annotated[str, typer.Option(help="auto, none, or names.")] = "auto",
    roi: Roi = None,
    stimuli: Stimuli = None,
    no_pictures: NoPictures = False,
    reliability: Reliability = None,
    dtype: Dtype = "float32",
) -> None:
    """Estimate betas of the perception task of ds001246; sessions perceptionTest test."""
    from phosphene.data.bold.prepare import BidsSettings
    from phosphene.data.public.god import TASK, prepare_god

    settings = _settings(subjects, roi, stimuli, no_pictures, reliability, dtype)
    bids = BidsSettings(task=TASK, model=model, space=space, confounds=confounds)
    _tell(prepare_god(source, output, settings, bids))


@guarded
def things_fmri(
    source: Source = None,
    output: Output = "things-fmri-dataset",
    subjects: Subjects = None,
    roi: Annotated[
        str | None, typer.Option(help="Columns of the voxel metadata, such as V1,V2. [all]")
    ] = None,
    stimuli: Stimuli = None,
    no_pictures: NoPictures = False,
    reliability: Reliability = None,
    dtype: Dtype = "float32",
) -> None:
    """Read the tables of betas; catch trials are left out."""
    from phosphene.data.public.things_fmri import prepare_things_fmri

    settings = _settings(subjects, roi, stimuli, no_pictures, reliability, dtype)
    _tell(prepare_things_fmri(source, output, settings))
