"""``phosphene index``: databases of pictures that can be searched by embeddings."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Resume, Sets, Subject

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Databases of pictures for `phosphene retrieve`: build, extend, look into.",
)

Pictures = Annotated[
    str | None,
    typer.Option(
        help="Folder of pictures, webdataset shards (FOLDER, X.tar, X-{000..099}.tar), or ready "
        "embeddings (.parquet, or a folder with img_emb and metadata)."
    ),
]
Memory = Annotated[
    float | None, typer.Option(help="Gigabytes the index may occupy. [half of the memory]")
]
KindOption = Annotated[
    str | None, typer.Option(help="auto, flat, hnsw or ivfpq. [auto: by size and memory]")
]
PartSize = Annotated[
    int | None,
    typer.Option(help="Pictures per part: as many are lost at most when killed. [512]"),
]
BatchSize = Annotated[int | None, typer.Option(help="Pictures embedded at a time. [32]")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda. [auto]")]
Folder = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of an index.")]


@app.command("build")
@guarded
def build(
    pictures: Pictures = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="efficientnet-lite0, a model (its target and search projection), "
            "open-clip:NAME:TAG, local-dir:FOLDER, or given:NAME for ready embeddings."
        ),
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    metric: Annotated[str | None, typer.Option(help="cosine, dot or euclidean. [cosine]")] = None,
    kind: KindOption = None,
    memory: Memory = None,
    part_size: PartSize = None,
    batch_size: BatchSize = None,
    device: Device = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = False,
) -> None:
    """Embed a collection of pictures and index it."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.retrieval.building import IndexConfig, build_index

    flags = {
        "pictures": pictures,
        "target": target,
        "output": output,
        "metric": metric,
        "kind": kind,
        "memory": memory,
        "part_size": part_size,
        "batch_size": batch_size,
        "device": device,
    }
    settings = resolve_config(IndexConfig, file=config, sets=sets or (), flags=flags)
    index = build_index(settings, resume=resume)
    _summary(index.file.n, index.file.n_skipped, index.file.kind)
    typer.echo(f"index: {index.folder}")


@app.command("add")
@guarded
def add(
    folder: Folder,
    pictures: Pictures = None,
    memory: Memory = None,
    part_size: PartSize = 512,
    batch_size: BatchSize = 32,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Resume = False,
) -> None:
    """Add pictures to an index, with the target it was built with."""
    from phosphene.errors import UsageError
    from phosphene.pipelines.retrieval.extending import add_pictures

    if pictures is None:
        raise UsageError(
            "--pictures is not given",
            expected="--pictures FOLDER|SHARDS|PARQUET",
            remedy="name what is to be added",
        )
    index = add_pictures(
        folder,
        pictures,
        resume=resume,
        part_size=part_size or 512,
        batch_size=batch_size or 32,
        memory=memory,
        device=device,
    )
    _summary(index.file.n, index.file.n_skipped, index.file.kind)
    typer.echo(f"index: {index.folder}")


@app.command("info")
@guarded
def info(folder: Folder) -> None:
    """Show what an index holds and how it is searched."""
    from phosphene.pipelines.retrieval.index import Index

    index = Index.open(folder)
    file = index.file
    size = sum(known.size for known in file.files.values())
    typer.echo(f"pictures    {file.n} ({file.n_skipped} skipped)")
    typer.echo(f"space       {file.space.describe()}")
    typer.echo(f"target      {file.target_name}")
    typer.echo(f"search      {file.kind}, {file.metric}")
    for name, value in file.parameters.items():
        typer.echo(f"  {name:12}{value}")
    typer.echo(f"size        {size / 1e6:.1f} MB, {size / file.n:.0f} bytes per picture")
    for source in file.sources:
        typer.echo(f"source      {source}")
    typer.echo(f"index: {index.folder}")


@app.command("verify")
@guarded
def verify(folder: Folder) -> None:
    """Compare every byte with its hash, and let rows find themselves."""
    from phosphene.pipelines.retrieval.index import Index

    for check, found in Index.open(folder).verify().itertuples(index=False):
        typer.echo(f"{check}: {found}")
    typer.echo(f"verified: {folder}")


@app.command("merge")
@guarded
def merge(
    folders: Annotated[
        list[str], typer.Argument(metavar="INDEX...", help="Two or more indexes of one space.")
    ],
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    kind: KindOption = None,
    memory: Memory = None,
    resume: Resume = False,
) -> None:
    """Write one index of several; nothing is embedded again."""
    from phosphene.errors import UsageError
    from phosphene.pipelines.retrieval.extending import merge_indexes

    if output is None:
        raise UsageError(
            "--output is not given", expected="--output FOLDER", remedy="name a new folder"
        )
    index = merge_indexes(folders, output, resume=resume, kind=kind or "auto", memory=memory)
    _summary(index.file.n, index.file.n_skipped, index.file.kind)
    typer.echo(f"index: {index.folder}")


@app.command("upload")
@guarded
def upload(
    folder: Folder,
    to: Annotated[
        str | None,
        typer.Option(help="New collection, such as qdrant:http://localhost:6333/pictures."),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(help="Over which the server spreads the vectors. [its own rule]")
    ] = None,
) -> None:
    """Copy an index to a Qdrant server, which `retrieve --index` then searches."""
    from phosphene.errors import UsageError
    from phosphene.pipelines.retrieval.opening import upload_index

    if to is None:
        raise UsageError(
            "--to is not given",
            expected="--to qdrant:ADDRESS/COLLECTION",
            remedy="name a server and a new collection",
        )
    typer.echo(f"{len(upload_index(folder, to, shards=shards))} pictures uploaded")
    typer.echo(f"index: {to}")


@app.command("calibrate")
@guarded
def calibrate(
    folder: Folder,
    subject: Subject = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", help="Recording of indexed pictures that no training used."),
    ] = None,
    trials: Annotated[
        str | None, typer.Option(help="Its trials (TSV): stimulus_id are identifiers of the index.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Decodes the recording. [the index's, or by its kind]")
    ] = None,
    average: Annotated[
        str | None, typer.Option(help="none, or stimulus: as `retrieve` will. [stimulus]")
    ] = None,
    device: Device = None,
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Learn how sure answers to a subject's recordings are, for `retrieve` to tell."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.retrieval.calibrating import CalibrateConfig, calibrate_index

    flags = {
        "index": folder,
        "subject": subject,
        "input": input_,
        "trials": trials,
        "model": model,
        "average": average,
        "device": device,
    }
    fitted = calibrate_index(
        resolve_config(CalibrateConfig, file=config, sets=sets or (), flags=flags)
    )
    typer.echo("pool  k  found  confidence  calibration error (left-out pictures)")
    for one in fitted.points:
        typer.echo(
            f"{one.pool}  {one.k}  {one.hit_rate:.3f}  {one.mean_confidence:.3f}  "
            f"{one.calibration_error:.3f}"
        )
    typer.echo(f"confidence: {folder}/confidence.json")


def _summary(n: int, skipped: int, kind: str) -> None:
    unread = f", {skipped} skipped (skipped.tsv says why)" if skipped else ""
    typer.echo(f"{n} pictures{unread}, searched by {kind}")
