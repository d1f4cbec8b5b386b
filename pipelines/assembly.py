"""Put a decoder together from parts, or swap some of another one's; parts that do not fit are told.

Nothing is trained here. A part that learned on another target, or latents of another autoencoder,
would give pictures all the same, and wrong ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from phosphene.component import Component
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.structure import StructureBranch
from phosphene.storage import hash_bytes

__all__ = ["assemble"]

NEEDED = ("encoder", "target", "preprocessor", "protocol", "generator")
NO_PARTS = ("settings", "borrowed", "name", "hash", "folder")
STRENGTH = 0.85  # of a branch that is made here; what MindEye starts with


def assemble(base: ModelParts | None, parts: Mapping[str, Any]) -> ModelParts:
    """Return the parts of a decoder, checked against one another.

    Parameters
    ----------
    base : ModelParts, optional
        Whose parts serve where none are given.
    parts : mapping of str to part
        By the names of :class:`ModelParts`; ``None`` leaves an optional part out. A ``structure``
        without a ``branch`` gets one.

    Raises
    ------
    UsageError
        If a name is unknown, or a needed part is missing.
    InputError
        If parts do not fit together.
    """
    allowed = [field.name for field in fields(ModelParts) if field.name not in NO_PARTS]
    for name in parts:
        check_option("part", name, allowed)
    given = dict(parts)
    if base is None:
        missing = [name for name in NEEDED if given.get(name) is None]
        if missing:
            raise UsageError(
                f"a decoder without {', '.join(missing)}",
                expected=f"{', '.join(NEEDED)}, or a base that has them",
                remedy='name a base, as in from_parts(base="virtual-fmri", prior=None)',
            )
        made = ModelParts(**{"baselines": {}, **given})
    else:
        empty = [name for name in NEEDED if name in given and given[name] is None]
        if empty:
            raise UsageError(f"{empty[0]}=None", expected=f"a part: every decoder has {empty[0]}")
        if "structure" in given and given["structure"] is None:
            given.setdefault("branch", None)
        kept = {role: name for role, name in base.borrowed.items() if role not in given}
        made = replace(base, **given, borrowed=kept)
    if made.structure is not None and made.branch is None and made.start is not None:
        made = replace(made, branch=StructureBranch(made.start.spec.hash, STRENGTH))
    _check_target(made.generator, made.target)
    _check_shape("encoder", made.encoder, made.target.spec.shape)
    _check_start(made)
    unchanged = base is not None and all(getattr(base, key) is part for key, part in given.items())
    if unchanged:
        return made
    return replace(made, name="assembled", hash=_identity(made))


def _check_target(generator: Generator, target: StimulusEncoder) -> None:
    """Refuse a generator that renders embeddings of another target."""
    own = getattr(generator, "target", None)
    wanted = getattr(generator, "condition", "" if own is None else own.spec.hash)
    if wanted and wanted != target.spec.hash:
        raise InputError(
            f"the generator {generator.name} renders embeddings of {wanted}",
            expected=f"those of the target {target.name}, {target.spec.hash}",
            remedy="give a target and a generator that belong together",
        )


def _check_shape(role: str, encoder: Any, shape: tuple[int, ...]) -> None:
    """Refuse an encoder that predicts another shape."""
    found = getattr(encoder, "target_shape_", None)
    if found is None and hasattr(encoder, "targets"):
        found = encoder.targets.get(encoder.main_part if role == "encoder" else "lowlevel")
    if found and tuple(found) != tuple(shape):
        raise InputError(
            f"the {role} {encoder.name} predicts the shape {tuple(found)}",
            expected=f"{tuple(shape)}",
            remedy="give a part that was fitted for these",
        )


def _check_start(made: ModelParts) -> None:
    """Refuse a branch that predicts latents of another autoencoder, or features of others."""
    if made.branch is None:
        return
    start = made.start
    found = "none" if start is None else start.spec.hash
    # Some networks predict latents beside their tokens, and need no second one.
    itself = made.structure is None and "lowlevel" in getattr(made.encoder, "targets", ())
    predicted = itself or made.structure is not None
    if not predicted or start is None or made.branch.target != found:
        raise InputError(
            f"a low-level branch for the latents {made.branch.target}"
            + ("" if predicted else ", and nothing that predicts them"),
            expected=f"a structure encoder, and the latents {found} of the generator "
            f"{made.generator.name}",
            remedy="leave both out with structure=None; a published generator by name "
            "(Reconstructor.from_pretrained(..., generator=...)) starts from decoded pictures",
        )
    _check_shape("structure", made.encoder if itself else made.structure, start.spec.shape)


def _identity(parts: ModelParts) -> str:
    """Return the identity of what was put together: every part's configuration and weights."""
    found = []
    for role, part in sorted(parts.components.items()):
        found.append(f"{role} {part.name}")
        if isinstance(part, Component):
            found.append(repr(sorted(part.config.items())))
            found += [
                f"{name} {hash_bytes(value.detach().cpu().contiguous().numpy().tobytes())}"
                for name, value in sorted(part.tensors().items())
            ]
    found.append(f"generator {parts.generator.name} {sorted(parts.generator.settings.items())}")
    network = getattr(parts.generator, "unet", None)
    if network is not None:
        from phosphene.pipelines.generators.pipeline_folder import weights_fingerprint

        found.append(weights_fingerprint(network))
    return hash_bytes("\n".join(found).encode())[:16]
