"""``phosphene train``: a whole decoder, or its parts one by one."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Resume, Seed, Sets, Subject

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


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
    from phosphene.pipelines.training.decoder import DecoderConfig
    from phosphene.pipelines.training.decoder import train_decoder as run

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
    settings = resolve_config(DecoderConfig, file=config, sets=sets or (), flags=flags)
    folder, summary = run(settings, resume=resume)
    for name, value in summary.items():
        typer.echo(f"{name} {value:.4g}")
    typer.echo(f"model: {folder}")


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
        str | None, typer.Option(help="ridge, mlp, mindeye1, mindeye2 or bit. [ridge]")
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
    --config also takes a published recipe by name: mindeye1, mindeye2 or brain_it.
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
