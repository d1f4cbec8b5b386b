"""From a published file to a model folder, and from a model folder back to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phosphene.checkpoints.converters import FAMILIES
from phosphene.checkpoints.converters.card import model_card
from phosphene.checkpoints.converters.family import Converted, Family, Request, Shapes
from phosphene.checkpoints.converters.reading import read_content
from phosphene.checkpoints.converters.state import State, state_of
from phosphene.checkpoints.converters.unconvertible import UNCONVERTIBLE, recognised_as
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, UsageError, check_option
from phosphene.names import check_subject, resolve_folder
from phosphene.pipelines.model_folder import ModelParts, load_component, load_model, write_model
from phosphene.storage import atomic_path, check_new_folder, hash_file, new_folder, write_text

__all__ = ["Report", "convert_file", "family_names", "recognise", "write_back"]

WRITABLE = ("atm", "mindeye2")
# Of folders that trainers write, and of NICE's pair of files.
USUAL = ("model.safetensors", "pytorch_model.bin", "last.pth", "last.ckpt", "*Enc_eeg_cls.pth")


@dataclass(frozen=True)
class Report:
    """What became of a file, for people.

    Attributes
    ----------
    family : str
    lines : tuple of str
    folder : Path
    """

    family: str
    lines: tuple[str, ...]
    folder: Path


def family_names() -> list[str]:
    """Return every name that ``--from`` takes."""
    return sorted({"auto", *FAMILIES.names(), *UNCONVERTIBLE})


def convert_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    subjects: Sequence[str],
    family: str = "auto",
    settings: Mapping[str, Any] | None = None,
    beside: Mapping[str, str] | None = None,
    corrected: bool = False,
    target: str | None = None,
) -> Report:
    """Turn a published file into a model folder.

    Parameters
    ----------
    path : path
    output : path
        New or empty folder; it appears when it is complete.
    subjects : sequence of str
        Labels, in the order of the file's own subjects.
    family : str
        A name of :func:`family_names`; ``auto`` looks at names and shapes of tensors.
    settings : mapping, optional
        What the family leaves open.
    beside : mapping of str to path, optional
        Further files by what they are.
    corrected : bool
        The equivalent form without published defects.
    target : str, optional
        ``local-dir:FOLDER`` of the picture encoder that the weights were trained with; it becomes
        part of the model in place of its description.

    Raises
    ------
    InputError
        If the file is damaged, hostile, of another family or of none, or does not fit.
    UsageError
        If what is asked for cannot be.
    """
    check_option("from", family, family_names())
    if family in UNCONVERTIBLE:
        raise _unconvertible(family)
    if not subjects:
        raise UsageError(
            "no subject is named",
            expected="--subject with the label of whose brain the weights decode, such as 01",
            remedy="repeat --subject for weights of several subjects, in the order of the file",
        )
    labels = tuple(check_subject(one) for one in subjects)
    if len(set(labels)) != len(labels):
        raise UsageError(
            f"the subjects {', '.join(labels)}",
            expected="each label once",
            remedy="leave the repeated label away",
        )
    check_new_folder(output)
    source = _main_file(Path(path))
    state = state_of(read_content(source))
    kind = _family(family) if family != "auto" else recognise(state.shapes(), source)
    request = Request(source, labels, dict(settings or {}), dict(beside or {}), corrected)
    kind.check(request)
    converted = kind.convert(state, request)
    if target is not None:
        converted.parts = _with_target(converted.parts, target)
    _write(kind, converted, state, request, Path(output))
    return Report(kind.name, tuple(_lines(kind, converted, state)), Path(output))


def write_back(model: str | os.PathLike[str], output: str | os.PathLike[str], *, to: str) -> Path:
    """Write a model as a file that the originals read.

    Parameters
    ----------
    model : path
        Model folder, or a known name.
    output : path
        New file.
    to : {"mindeye2", "atm"}
    """
    import torch

    check_option("to", to, WRITABLE)
    path = Path(output)
    if path.exists():
        raise UsageError(
            f"the output {path} exists",
            expected="a new file, so that nothing of yours is overwritten",
            remedy="choose another name",
        )
    content = _family(to).write(load_model(os.fspath(model)))
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return path


def recognise(shapes: Shapes, path: Path) -> Family:
    """Return the family of a file by names and shapes of its tensors.

    Raises
    ------
    InputError
        If none fits, or one that does not convert.
    """
    families = map(_family, FAMILIES.names())
    found = [one for one in families if one.recognises(shapes) and one.suits(shapes, path)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.name for one in found)
        raise UsageError(
            f"{path} fits {names}",
            expected="one family",
            remedy="say which with --from",
        )
    other = recognised_as(shapes)
    if other is not None:
        raise _unconvertible(other)
    first = ", ".join(list(shapes)[:4])
    raise InputError(
        f"{path} holds {len(shapes)} tensors of no family that is known here ({first}, ...)",
        expected=f"published weights of {', '.join(FAMILIES.names())}",
        remedy="say which with --from, if it is one of these",
    )


def _main_file(path: Path) -> Path:
    """Return the file of weights of a folder, where it has exactly one of a usual name."""
    if not path.is_dir():
        return path
    found = [one for name in USUAL for one in sorted(path.glob(name)) if one.is_file()]
    return found[0] if len(found) == 1 else path


def _family(name: str) -> Family:
    made: Family = FAMILIES.get(name)()
    return made


def _unconvertible(name: str) -> InputError:
    reason = UNCONVERTIBLE[name].reason
    return InputError(
        f"weights of {name}: not convertible, because {reason}",
        expected=f"weights of {', '.join(FAMILIES.names())}",
        remedy=UNCONVERTIBLE[name].remedy,
    )


def _with_target(parts: ModelParts, name: str) -> ModelParts:
    """Return the parts with a picture encoder in place of its description."""
    from phosphene.pipelines.generators.expected import same_embedding
    from phosphene.pipelines.generators.on_demand import OnDemand

    described = parts.target
    assert isinstance(described, PublishedTarget)
    own = load_component(resolve_folder(name), STIMULUS_ENCODERS)
    problem = same_embedding(described, own)
    if problem:
        raise InputError(
            f"the target {name} {problem}",
            expected=f"{described.output} of {described.model} ({described.weights}), shape "
            f"{described.shape}, colours as in {described.colours}",
            remedy="make it from the network that these weights were trained with",
        )
    entry = parts.generator.entry if isinstance(parts.generator, OnDemand) else ""
    return replace(parts, target=own, generator=OnDemand(entry, own))


def _write(
    kind: Family, converted: Converted, state: State, request: Request, output: Path
) -> None:
    converted.parts.settings = {
        "converted_from": kind.name,
        "file": request.path.name,
        "sha256": hash_file(request.path),
        "source": kind.source,
        "licence": kind.licence,
        "paper": kind.paper,
        "settings": {name: kind.setting(request, name) for name in kind.settings},
        "corrected": request.corrected,
        "sizes": converted.sizes,
        "left_out": converted.dropped,
        "not_imported": state.inert,
        "quirks": converted.quirks,
    }
    with new_folder(output) as building:
        write_model(building, converted.parts, {}, name=output.name)
        write_text(building / "README.md", model_card(kind, converted, request, output.name))


def _lines(kind: Family, converted: Converted, state: State) -> list[str]:
    lines = [f"found: {kind.name} ({kind.title}), {len(state.tensors)} tensors"]
    if state.stripped:
        lines.append(f"prefixes removed: {' '.join(state.stripped)}")
    lines += [f"{name}: {value}" for name, value in converted.sizes.items()]
    if state.beside:
        lines.append(f"passed over, no weights: {', '.join(state.beside)}")
    if state.inert:
        lines.append(f"not imported: {', '.join(state.inert)}")
    reasons: dict[str, list[str]] = {}
    for name, reason in converted.dropped.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        lines.append(f"left out: {', '.join(names[:2])}{more}: {reason}")
    lines += [f"kept as published: {quirk}" for quirk in converted.quirks]
    lines += [f"careful: {note}" for note in converted.notes]
    return lines
