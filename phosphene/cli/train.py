"""``phosphene train``: a whole decoder, or its parts one by one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Resume, Seed, Sets, Subject
from phosphene.cli.train_video import train_video

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("video")(train_video)


@app.callback(invoke_without_command=True)
@guarded
def train_decoder(
    ctx: typer.Context,
    dataset: Annotated[
        str | None, typer.Option(help="Folder written by `phosphene prepare`.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label, may be repeated. [all of the dataset]")
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Of EEG and MEG: ridge, flat_mlp, tsconv, atm, conv_attention, ... [flat_mlp]"
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Model whose target and generator are used. [virtual-fmri]"),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="What is decoded: local-dir:FOLDER. [the base's]")
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help="Folder of a generator for that target. [the base's]")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="auto (chosen on validation pictures), diffusion, identity or none."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights in half precision.")] = False,
    seed: Seed = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = False,
) -> None:
    """Train a whole decoder: encoder, prior, low-level branch and strength in one model folder.

    The parts can be trained one by one with the commands below.
    """
    if ctx.invoked_subcommand is not None:
        return
    from phosphene.config import resolve_config

    flags = {
        "dataset": dataset,
        "subjects": tuple(subject) if subject else None,
        "output": output,
        "base": base,
        "target": target,
        "generator": generator,
        "prior": prior,
        "half": True if half else None,
        "seed": seed,
    }
    if _is_electric(dataset, config, sets):
        folder, summary = _electric(flags | {"encoder": encoder}, config, sets, resume)
    else:
        from phosphene.pipelines.training.decoder import DecoderConfig
        from phosphene.pipelines.training.decoder import train_decoder as run

        if encoder is not None:
            raise _no_encoder(encoder)
        settings = resolve_config(DecoderConfig, file=config, sets=sets or (), flags=flags)
        folder, summary = run(settings, resume=resume)
    for name, value in summary.items():
        typer.echo(f"{name} {value:.4g}")
    typer.echo(f"model: {folder}")


def _is_electric(dataset: str | None, config: str | None, sets: list[str] | None) -> bool:
    """Whether the dataset that a command names holds EEG or MEG."""
    from pathlib import Path

    from phosphene.config import resolve_config
    from phosphene.pipelines.training.electric_decoder import DatasetChoice
    from phosphene.schemas import DatasetFile

    choice = resolve_config(DatasetChoice, file=config, sets=sets or (), flags={"dataset": dataset})
    path = Path(choice.dataset) / "dataset.json"
    return bool(choice.dataset) and path.is_file() and DatasetFile.load(path).modality != "fmri"


def _electric(
    flags: dict[str, Any], config: str | None, sets: list[str] | None, resume: bool
) -> tuple[Any, dict[str, float]]:
    from phosphene.config import resolve_config
    from phosphene.pipelines.training.electric_decoder import (
        ElectricDecoderConfig,
        train_electric_decoder,
    )

    settings = resolve_config(ElectricDecoderConfig, file=config, sets=sets or (), flags=flags)
    return train_electric_decoder(settings, resume=resume)


def _no_encoder(encoder: str) -> Exception:
    from phosphene.errors import UsageError

    return UsageError(
        f"--encoder {encoder} for a dataset of fMRI",
        expected="no --encoder: a whole decoder of fMRI starts with ridge",
        remedy="train a network by itself: phosphene train encoder --encoder NAME",
    )


@app.command("autoencoder")
@guarded
def train_autoencoder(
    pictures: Annotated[
        str | None, typer.Option(help="Folder of pictures, .npy, or .npz[:KEY].")
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (colour).")] = None,
    latent: Annotated[int | None, typer.Option(help="Numbers per picture.")] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Pictures that must not teach it (your stimuli), with near copies; repeatable."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes through the pictures.")] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = False,
) -> None:
    """Train a small variational autoencoder on your own pictures."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.training.autoencoder import AutoencoderConfig
    from phosphene.pipelines.training.autoencoder import train_autoencoder as run

    flags = {
        "pictures": pictures,
        "output": output,
        "size": size,
        "channels": channels,
        "latent": latent,
        "exclude": tuple(exclude) if exclude else None,
        "training.epochs": epochs,
        "training.seed": seed,
    }
    settings = resolve_config(AutoencoderConfig, file=config, sets=sets or (), flags=flags)
    folder, summary = run(settings, resume=resume)
    for name, value in summary.items():
        typer.echo(f"{name} {value:.4g}")
    typer.echo(f"autoencoder: {folder} (samples: {folder / 'samples.png'})")


@app.command("encoder")
@guarded
def train_encoder(
    dataset: Annotated[
        str | None, typer.Option(help="Folder written by `phosphene prepare`.")
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(help="Label; may be repeated for a network. [all, for a network]"),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Of fMRI: ridge, mlp, mindeye1, mindeye2, bit or roi_transformer. [ridge] Of EEG "
            "and MEG: ridge, flat_mlp, tsconv, atm, conv_attention, ... [flat_mlp]"
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="What it predicts: local-dir:FOLDER, or pixels:SIZExCHANNELS."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Of networks: model whose target and generator are used. [virtual-fmri]"),
    ] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = False,
) -> None:
    """Train a brain encoder on the train split of a dataset; write a model folder.

    Ridge is fitted in closed form for one subject; networks are shared between subjects, and
    --config also takes a published recipe by name: mindeye1, mindeye2, brain_it; shared is ours.
    """
    from phosphene.config import resolve_config
    from phosphene.encoders.brain import BRAIN_ENCODERS
    from phosphene.encoders.brain.base import NetworkEncoder
    from phosphene.pipelines.training.network import EncoderChoice, find_recipe

    config = find_recipe(config)
    flags: dict[str, object] = {
        "dataset": dataset,
        "encoder": encoder,
        "target": target,
        "output": output,
        "seed": seed,
    }
    given = sets or ()
    if _is_electric(dataset, config, sets):
        flags |= {"subjects": tuple(subject) if subject else None, "base": base}
        # The encoder alone: predictions are rendered as they are, from noise.
        flags |= {"prior": "none", "strengths": (1.0,)}
        folder, summary = _electric(flags, config, sets, resume)
        for name, value in summary.items():
            typer.echo(f"{name} {value:.4g}")
        typer.echo(f"model: {folder}")
        return
    choice = resolve_config(EncoderChoice, file=config, sets=given, flags={"encoder": encoder})
    if issubclass(BRAIN_ENCODERS.get(choice.encoder), NetworkEncoder):
        from phosphene.pipelines.training.network import NetworkConfig, train_network

        flags |= {"subjects": tuple(subject) if subject else None, "base": base}
        network = resolve_config(NetworkConfig, file=config, sets=given, flags=flags)
        folder, summary = train_network(network, resume=resume)
    else:
        from phosphene.pipelines.training.encoder import EncoderConfig
        from phosphene.pipelines.training.encoder import train_encoder as fit

        if resume or base or (subject and len(subject) > 1):
            raise _closed_form(choice.encoder)
        flags["subject"] = subject[0] if subject else None
        closed = resolve_config(EncoderConfig, file=config, sets=given, flags=flags)
        folder, summary = fit(closed)
    for name, value in summary.items():
        typer.echo(f"{name} {value:.4g}")
    typer.echo(f"model: {folder}")


def _closed_form(encoder: str) -> Exception:
    from phosphene.errors import UsageError

    return UsageError(
        f"--resume, --base or several subjects for the encoder {encoder}",
        expected="one subject and a target: it is fitted in closed form, in one go",
        remedy="fit each subject by itself, or all with `phosphene train`",
    )


@app.command("subjects")
@guarded
def train_subjects(
    dataset: Annotated[
        str | None, typer.Option(help="Folder written by `phosphene prepare`, with test trials.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    scheme: Annotated[
        str | None,
        typer.Option(help="within, joint (one for all) or loso (from all others). [within]"),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="As for `phosphene train`; repeatable. [flat_mlp]")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label, may be repeated. [all of the dataset]")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated. [0]")] = None,
    alignment: Annotated[
        bool, typer.Option("--alignment", help="Whiten sensors by the subject's own trials.")
    ] = False,
    whitening: Annotated[
        bool, typer.Option("--whitening", help="Whiten the subject's embeddings.")
    ] = False,
    csls: Annotated[
        bool, typer.Option("--csls", help="Scale scores by those of nearest neighbours.")
    ] = False,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="CSLS with a number of neighbours per trial.")
    ] = False,
    procrustes: Annotated[
        bool, typer.Option("--procrustes", help="Recover an orthogonal map from the test itself.")
    ] = False,
    calibration: Annotated[
        int | None,
        typer.Option(help="Unlabelled trials to learn from; 0: the test, transductive. [50]"),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = False,
) -> None:
    """Retrieval from EEG or MEG within, of all, or of left-out subjects: a table per subject."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.training.electric_subjects import SubjectsConfig, compare_subjects

    flags = {
        "dataset": dataset,
        "output": output,
        "scheme": scheme,
        "encoders": tuple(encoder) if encoder else None,
        "subjects": tuple(subject) if subject else None,
        "seeds": tuple(seed) if seed else None,
        "alignment": alignment or None,
        "whitening": whitening or None,
        "csls": csls or None,
        "adaptive": adaptive or None,
        "procrustes": procrustes or None,
        "calibration": calibration,
    }
    settings = resolve_config(SubjectsConfig, file=config, sets=sets or (), flags=flags)
    folder, table, summary = compare_subjects(settings, resume=resume)
    shown = ["encoder", "calibration", "setting", "repetitions", "subject", "top1", "top5"]
    means = table.groupby(shown[:5], sort=False)[shown[5:]].mean().reset_index()
    typer.echo(means.to_string(index=False, float_format="%.3f"))
    for row in summary.to_dict("records"):
        typer.echo(
            f"{row['scheme']} {row['encoder']}, {row['repetitions']} repetitions, "
            f"{row['calibration']} ({row['setting']}): top-1 {row['top1']:.3f}, "
            f"top-5 {row['top5']:.3f} [{row['top5_low']:.3f}, {row['top5_high']:.3f}]"
        )
    typer.echo(f"table: {folder / 'subjects.tsv'}")


@app.command("adapt")
@guarded
def train_adapt(
    model: Annotated[
        str | None, typer.Option(help="Model whose encoder is a network shared by subjects.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Folder written by `phosphene prepare`.")
    ] = None,
    subject: Subject = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(help="Scanning sessions to train on alone: 1, or 1..3; repeatable. [all]"),
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = False,
) -> None:
    """Add a new subject to a trained model: the shared network stays as it is."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.training.adapt import AdaptConfig, adapt_model

    flags = {
        "model": model,
        "dataset": dataset,
        "subject": subject,
        "sessions": tuple(sessions) if sessions else None,
        "output": output,
        "seed": seed,
    }
    settings = resolve_config(AdaptConfig, file=config, sets=sets or (), flags=flags)
    folder, summary = adapt_model(settings, resume=resume)
    for name, value in summary.items():
        typer.echo(f"{name} {value:.4g}")
    typer.echo(f"model: {folder}")
