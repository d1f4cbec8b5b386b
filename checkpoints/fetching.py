"""Files of published generators: found on this machine, or fetched when asked to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from phosphene.checkpoints.registry import GeneratorPart, KnownGenerator
from phosphene.errors import AssetError, PhospheneError, UsageError
from phosphene.hub import is_offline
from phosphene.names import require

__all__ = ["fetch_generator", "generator_parts"]

LOCAL = "local-dir:"


def generator_parts(name: str, entry: KnownGenerator, source: str | None = None) -> dict[str, Path]:
    """Return the folder of each part of a generator; nothing is ever downloaded here.

    Parameters
    ----------
    name : str
    entry : KnownGenerator
    source : str, optional
        ``local-dir:FOLDER`` with one folder per part, as :func:`fetch_generator` writes it, or
        with the files of the only part; the hub's cache by default.

    Raises
    ------
    AssetError
        If a part is missing: what it is, its size and licence, and how to get it.
    """
    found = {}
    for role, part in entry.parts.items():
        folder = _local(source, role, part) if source else _cached(part)
        if folder is None or not all(_present(folder, pattern) for pattern in part.files):
            raise _missing(name, role, part, source)
        found[role] = folder
    return found


def _missing(name: str, role: str, part: GeneratorPart, source: str | None) -> AssetError:
    """Return the error that says what is missing, how large it is, its licence and the command."""
    made = f", made of {part.single_file}" if part.single_file else ""
    command = f"phosphene models fetch {name}" + (" --output FOLDER" if part.single_file else "")
    elsewhere = f"copy what `phosphene models fetch {name} --output FOLDER` writes"
    if part.single_file:
        elsewhere = f"copy the folder, or the file and `phosphene models convert {name} FILE`"
    return AssetError(
        f"the {role} of the generator {name} is not in {source or 'the local cache of the hub'}",
        expected=f"{', '.join(part.files)}{made} of {part.repo}, {part.megabytes:.0f} MB, "
        f"licence: {part.licence}",
        remedy=f"{command}, where there is a network; from elsewhere {elsewhere}; and name it with "
        f"{name}:{LOCAL}FOLDER",
    )


def fetch_generator(
    name: str,
    entry: KnownGenerator,
    *,
    output: str | None = None,
    offline: bool = False,
    convert: Callable[[Path, Path], object] | None = None,
) -> dict[str, Path]:
    """Download what is missing of a generator; return the folder of each part.

    Parameters
    ----------
    name : str
    entry : KnownGenerator
    output : path, optional
        Folder that gets one folder per part; the hub's cache by default.
    offline : bool
        Only look for what is there.
    convert : callable
        Makes a folder of parts from a single file, where that is what is published.
    """
    source = f"{LOCAL}{output}" if output else None
    if output is None and any(part.single_file for part in entry.parts.values()):
        raise UsageError(
            f"{name} is published as one file, which is converted after its download",
            expected="a folder for the result",
            remedy=f"phosphene models fetch {name} --output FOLDER",
        )
    if offline or is_offline():
        return generator_parts(name, entry, source)
    hub = require("huggingface_hub", "diffusers")
    for role, part in entry.parts.items():
        if output and _local(f"{LOCAL}{output}", role, part) is not None:
            continue
        try:
            if part.single_file:
                assert output is not None
                assert convert is not None
                path = hub.hf_hub_download(
                    part.repo,
                    part.single_file,
                    repo_type=part.kind,
                    local_dir=Path(output) / "download",
                )
                convert(Path(path), Path(output) / role)
                continue
            names = hub.HfApi().list_repo_files(part.repo)
            hub.snapshot_download(
                part.repo,
                allow_patterns=smallest_weights(part.files, names),
                **({"local_dir": Path(output) / role} if output else {}),
            )
        except PhospheneError:
            raise
        except Exception as error:  # the hub client raises a family of network and HTTP errors
            raise AssetError(
                f"the {role} of the generator {name} could not be fetched from {part.repo} "
                f"({type(error).__name__})",
                expected=f"a reachable hub, access to that repository ({part.licence}) and "
                f"{part.megabytes:.0f} MB of disk",
                remedy="accept its licence on the hub if it asks for that and log in, or fetch it "
                f"elsewhere and name it with {name}:{LOCAL}FOLDER",
            ) from error
    return generator_parts(name, entry, source)


def smallest_weights(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return which files of a repository to take: those in half precision where there are any.

    Pickled weights are never taken.

    Examples
    --------
    >>> files = ["unet/a.fp16.safetensors", "unet/a.safetensors", "unet/config.json", "unet/a.bin"]
    >>> smallest_weights(["unet/*"], files)
    ['unet/a.fp16.safetensors', 'unet/config.json']
    """
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    halved = {Path(name).parent for name in wanted if ".fp16." in name}
    kept = []
    for name in wanted:
        path = Path(name)
        if path.suffix not in (".safetensors", ".json", ".txt", ".model"):
            continue
        twice = path.parent in halved and ".fp16." not in name and name not in patterns
        if path.suffix != ".safetensors" or not twice:
            kept.append(name)
    return kept


def _present(folder: Path, pattern: str) -> bool:
    return any(True for _ in folder.glob(pattern))


def _local(source: str, role: str, part: GeneratorPart) -> Path | None:
    if not source.startswith(LOCAL):
        raise UsageError(
            f"the generator's place {source!r}",
            expected=f"{LOCAL}FOLDER",
            remedy="name a folder on this machine; what is on the hub has a name of its own",
        )
    root = Path(source.removeprefix(LOCAL))
    for folder in (root / role, root):
        if folder.is_dir() and all(_present(folder, pattern) for pattern in part.files):
            return folder
    return None


def _cached(part: GeneratorPart) -> Path | None:
    if part.single_file:
        return None  # what is made of a file lies where the user wanted it
    hub: Any = require("huggingface_hub", "diffusers")
    try:
        return Path(
            hub.snapshot_download(part.repo, allow_patterns=part.files, local_files_only=True)
        )
    except Exception:  # not there, or only in part: one message says so
        return None
