"""``phosphene prepare things-meg|things-eeg1|alljoined|eegcvpr40``: public EEG and MEG sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import Seed

if TYPE_CHECKING:
    from phosphene.data.canonical import CanonicalDataset
    from phosphene.data.filtering import BandPass

__all__ = ["register"]

Source = Annotated[str | None, typer.Option(help="Folder that holds the dataset.")]
Output = Annotated[str | None, typer.Option(help="New folder, or a dataset to add subjects to.")]
Subjects = Annotated[
    list[str] | None, typer.Option("--subject", help="Label of a subject; may be repeated. [all]")
]
Channels = Annotated[str, typer.Option(help="all, or the 17 over parietal cortex.")]
Validation = Annotated[int, typer.Option(help="Concepts held out of training for validation.")]
Average = Annotated[
    bool, typer.Option("--average", help="One row per picture: the mean of its repetitions.")
]
NoWhitening = Annotated[
    bool, typer.Option("--no-whitening", help="Leave microvolts or femtotesla.")
]
HighPass = Annotated[float | None, typer.Option(help="Lower edge of the filter, hertz.")]
LowPass = Annotated[float | None, typer.Option(help="Upper edge of the filter, hertz.")]
Causal = Annotated[
    bool, typer.Option("--causal", help="Filter forward only, as an online run has to.")
]
Table = Annotated[str | None, typer.Option(help="Table of trials. [in the source]")]
Images = Annotated[
    str | None, typer.Option(help="Folder of the pictures, to copy them into the dataset.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``phosphene prepare``."""
    app.command("things-meg")(things_meg)
    app.command("things-eeg1")(things_eeg1)
    app.command("alljoined")(alljoined)
    app.command("eegcvpr40")(eegcvpr40)


@guarded
def things_meg(
    source: Source = None,
    output: Output = None,
    subject: Subjects = None,
    form: Annotated[
        str | None, typer.Option(help="bids, epochs or pickled, where there are several. [epochs]")
    ] = None,
    validation: Validation = 200,
    seed: Seed = 0,
    average: Average = False,
    no_whitening: NoWhitening = False,
    highpass: HighPass = 0.1,
    lowpass: LowPass = 40.0,
    causal: Causal = False,
    rate: Annotated[float, typer.Option(help="Of trials cut from runs, hertz.")] = 200.0,
    table: Table = None,
    images: Images = None,
) -> None:
    """Read THINGS-MEG: the official epochs, CTF runs (cut at their triggers) or pickles."""
    from phosphene.data.things.meg import prepare_things_meg

    dataset, said = prepare_things_meg(
        *_places(source, output),
        subjects=subject,
        form=form,
        validation=validation,
        seed=seed or 0,
        average=average,
        whiten=not no_whitening,
        band=_band(highpass, lowpass, causal),
        rate=rate,
        table=table,
        images=images,
    )
    _tell(dataset, said)


@guarded
def things_eeg1(
    source: Source = None,
    output: Output = None,
    subject: Subjects = None,
    channels: Channels = "all",
    validation: Validation = 200,
    seed: Seed = 0,
    average: Average = False,
    no_whitening: NoWhitening = False,
    highpass: HighPass = None,
    lowpass: LowPass = None,
    causal: Causal = False,
    rate: Annotated[float, typer.Option(help="Of the trials, hertz.")] = 250.0,
    images: Images = None,
) -> None:
    """Read THINGS-EEG1 (BIDS, BrainVision); target trials are dropped."""
    from phosphene.data.things.eeg1 import prepare_things_eeg1

    dataset, said = prepare_things_eeg1(
        *_places(source, output),
        subjects=subject,
        channels=channels,
        validation=validation,
        seed=seed or 0,
        average=average,
        whiten=not no_whitening,
        band=_band(highpass, lowpass, causal),
        rate=rate,
        images=images,
    )
    _tell(dataset, said)


@guarded
def alljoined(
    source: Source = None,
    output: Output = None,
    subject: Subjects = None,
    channels: Channels = "all",
    validation: Validation = 200,
    seed: Seed = 0,
    average: Average = False,
    no_whitening: NoWhitening = False,
    highpass: HighPass = None,
    lowpass: LowPass = None,
    causal: Causal = False,
    rate: Annotated[float, typer.Option(help="Of trials cut from recordings, hertz.")] = 250.0,
    table: Table = None,
    images: Images = None,
) -> None:
    """Read Alljoined-1.6M: the recordings of a consumer headset, or ENIGMA's arrays of them."""
    from phosphene.data.things.alljoined import prepare_alljoined

    dataset, said = prepare_alljoined(
        *_places(source, output),
        subjects=subject,
        channels=channels,
        validation=validation,
        seed=seed or 0,
        average=average,
        whiten=not no_whitening,
        band=_band(highpass, lowpass, causal),
        rate=rate,
        table=table,
        images=images,
    )
    _tell(dataset, said)


@guarded
def eegcvpr40(
    source: Annotated[
        str | None, typer.Option(help="eeg_55_95_std.pth, or another band of the set.")
    ] = None,
    output: Output = None,
    subject: Subjects = None,
    block_design: Annotated[
        bool,
        typer.Option(
            "--block-design",
            help="Read it although its classes were shown in blocks; every result says so.",
        ),
    ] = False,
    splits: Annotated[str | None, typer.Option(help="block_splits_by_image_all.pth.")] = None,
    images: Images = None,
) -> None:
    """Read EEGCVPR40, whose block design confounds what is decoded from it."""
    from phosphene.data.things.eegcvpr40 import prepare_eegcvpr40

    dataset, said = prepare_eegcvpr40(
        *_places(source, output),
        block_design=block_design,
        subjects=subject,
        splits=splits,
        images=images,
    )
    _tell(dataset, said)


def _places(source: str | None, output: str | None) -> tuple[str, str]:
    from phosphene.errors import UsageError

    for flag, value in (("--source", source), ("--output", output)):
        if value is None:
            raise UsageError(f"{flag} is not given", expected=f"{flag} FOLDER")
    return str(source), str(output)


def _band(highpass: float | None, lowpass: float | None, causal: bool) -> BandPass:
    from phosphene.data.filtering import BandPass

    return BandPass(highpass or None, lowpass or None, causal)


def _tell(dataset: CanonicalDataset, said: list[str]) -> None:
    for sentence in said:
        typer.echo(sentence)
    typer.echo(f"subjects: {', '.join(sorted(dataset.file.subjects))}")
    splits = dataset.table["split"].value_counts()
    typer.echo(", ".join(f"{splits[name]} {name}" for name in splits.index) + " trials")
    typer.echo(f"dataset: {dataset.root}")
