"""``phosphene models``: known decoders and published generators."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from phosphene.cli.guard import guarded

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Known models and published generators: facts, licences, sizes, fetching.",
)


@app.command("list")
@guarded
def list_models() -> None:
    """List known decoders, and published generators with what they take."""
    from phosphene.checkpoints.registry import (
        embedded_video_generators,
        known_generators,
        known_models,
        known_video_generators,
    )

    for name, model in known_models().items():
        typer.echo(f"{name:28} decoder    {model.megabytes:7.0f} MB  {model.description}")
    for name, (megabytes, words) in embedded_video_generators().items():
        typer.echo(f"{name:28} video      {megabytes:7.0f} MB  {words}")
    for kind, known in (("generator", known_generators()), ("video", known_video_generators())):
        for name, entry in known.items():
            typer.echo(f"{name:28} {kind:10} {entry.megabytes:7.0f} MB  {entry.description}")
    _list_weights()


@app.command("show")
@guarded
def show(name: str) -> None:
    """Show what is known of one: source, licence, size, embedding, defaults, quirks."""
    from phosphene.checkpoints.registry import embedded_video_generators, known_models

    model = known_models().get(name)
    if model is not None:
        _print(model.model_dump())
        return
    embedded = embedded_video_generators().get(name)
    if embedded is not None:
        _print({"name": name, "description": embedded[1], "size": f"{embedded[0]:.1f} MB"})
        typer.echo(f"{'here':14} yes: reconstruct --video --generator {name}")
        return
    from phosphene.checkpoints.converters.published import known_weights

    weights = known_weights().get(name)
    if weights is not None:
        size = "not known" if weights.megabytes is None else f"{weights.megabytes:.0f} MB"
        content = {"name": name, **weights.model_dump(exclude={"megabytes"}), "size": size}
        numbers = weights.numbers.items()
        content["numbers"] = [f"{protocol}: {figures}" for protocol, figures in numbers]
        _print(content)
        return
    found, entry = _published(name)
    typer.echo(f"{'name':14} {found}")
    content = entry.model_dump()
    parts = content.pop("parts")
    from phosphene.checkpoints.registry import known_video_generators

    video = found in known_video_generators()
    single = any(part["single_file"] for part in parts.values())
    whole = "" if single or video else " in half precision"
    content["size"] = f"{entry.megabytes:.0f} MB{whole}"
    content["memory"] = f"{content.pop('memory_gb')} GB at float16, activations aside"
    content["embedding"] = content["embedding"] or (
        "none: it takes the keyframe" if video else "that of the generator which it goes over"
    )
    for role, part in parts.items():
        content[role] = (
            f"{part['repo']}: {part['single_file'] or ', '.join(part['files'])} "
            f"({part['megabytes']:.0f} MB, "
            f"licence: {part['licence']})"
        )
    content["here"] = "yes" if _is_here(found, entry) else f"no: phosphene models fetch {found}"
    _print(content)


@app.command("fetch")
@guarded
def fetch(
    name: str,
    output: Annotated[
        str | None, typer.Option(help="Folder, for a machine without network. [the hub's cache]")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Download nothing, only say whether it is there.")
    ] = False,
) -> None:
    """Download what a published generator needs; what is there already is kept."""
    from phosphene.checkpoints.fetching import fetch_generator
    from phosphene.checkpoints.registry import known_models, model_folder

    if name in known_models():
        typer.echo(f"model: {model_folder(name)}")
        return
    found, entry = _published(name)
    for role, part in entry.parts.items():
        typer.echo(f"{role}: {part.repo}, {part.megabytes:.0f} MB, licence: {part.licence}")
    from phosphene.pipelines.generators.unclip_checkpoint import convert_unclip_checkpoint

    folders = fetch_generator(
        found, entry, output=output, offline=offline, convert=convert_unclip_checkpoint
    )
    for role, folder in folders.items():
        typer.echo(f"{role} is in {folder}")
    typer.echo(f"generator: {found}:local-dir:{output}" if output else f"generator: {found}")


@app.command("convert")
@guarded
def convert(
    name: str,
    file: str,
    output: Annotated[str, typer.Option(help="New or empty folder.")],
) -> None:
    """Turn a published single file that lies here into the parts of a generator."""
    from phosphene.errors import UsageError
    from phosphene.pipelines.generators.unclip_checkpoint import convert_unclip_checkpoint

    found, entry = _published(name)
    if not any(part.single_file for part in entry.parts.values()):
        raise UsageError(
            f"the generator {found} is not published as a single file",
            expected="sdxl-unclip",
            remedy=f"phosphene models fetch {found}",
        )
    folder = convert_unclip_checkpoint(file, output)
    typer.echo(f"generator: {found}:local-dir:{folder}")


def _list_weights() -> None:
    """List published weights: size, whether they convert, where they lie, licence, numbers."""
    from phosphene.checkpoints.converters.published import known_weights

    for name, entry in known_weights().items():
        size = "      ?" if entry.megabytes is None else f"{entry.megabytes:7.0f}"
        figures = "; ".join(f"{key}: {value}" for key, value in entry.numbers.items())
        facts = (
            entry.description,
            f"converts (--from {entry.family}): {entry.converts}",
            entry.address,
            f"licence: {entry.licence}",
            entry.paper,
            figures or "no numbers",
        )
        typer.echo(f"{name:28} weights    {size} MB  {' | '.join(facts)}")


def _published(name: str) -> tuple[str, Any]:
    """Return name and entry of a published generator; an unknown one lists them all."""
    from phosphene.checkpoints.registry import (
        embedded_video_generators,
        find_generator,
        find_video_generator,
        known_generators,
        known_models,
        known_video_generators,
    )
    from phosphene.errors import UsageError, check_option

    if name in embedded_video_generators():
        raise UsageError(
            f"{name} comes with the package",
            expected="a published generator",
            remedy=f"reconstruct --video --generator {name}",
        )
    found = find_generator(name) or find_video_generator(name)
    if found is None:
        known = {*known_generators(), *known_video_generators(), *known_models()}
        check_option("name", name, known)
        raise AssertionError(name)  # check_option has raised
    return found


def _is_here(name: str, entry: Any) -> bool:
    from phosphene.checkpoints.fetching import generator_parts
    from phosphene.errors import AssetError

    try:
        generator_parts(name, entry)
    except AssetError:
        return False
    return True


def _print(content: dict[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, list):
            for line in value or ["none"]:
                typer.echo(f"{key:14} {line}")
                key = ""
        elif isinstance(value, dict):
            typer.echo(f"{key:14} {', '.join(f'{k} {v}' for k, v in value.items())}")
        else:
            typer.echo(f"{key:14} {value}")
