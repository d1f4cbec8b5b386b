"""Key maps: what a published tensor is called here, its shape in symbols, and what is left out.

Shapes are written with letters. The tensors of a file bind them, so a map is also where sizes are
inferred: ``("h", "v{s}")`` says that the width is h and the voxels of linear map s are its second
size. A product such as ``"t*d"`` is checked, or solved for the one letter that is still unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from phosphene.errors import InputError

__all__ = ["Drop", "Key", "KeyMap", "Matched"]

PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Key:
    """One published tensor, or one per number of a placeholder.

    Attributes
    ----------
    published : str
        Name in the file; ``{b}`` stands for a number.
    own : str
        Name here.
    shape : tuple of str and int
        Sizes: letters, numbers, products of both.
    part : str
        Of a part that may be absent as a whole; empty for what every file has.
    apply, undo : callable, optional
        Published values to those kept here, and back.
    """

    published: str
    own: str
    shape: tuple[str | int, ...]
    part: str = ""
    apply: Callable[[Tensor], Tensor] | None = None
    undo: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Drop:
    """Published tensors that are left out on purpose.

    Attributes
    ----------
    published : str
        Name; ``{b}`` stands for a number, ``*`` for anything.
    reason : str
    shape : tuple of str and int, optional
        Where it is written back for the originals, which want every name.
    fill : {"zeros", "ones"}
        With what it is written back.
    """

    published: str
    reason: str
    shape: tuple[str | int, ...] | None = None
    fill: str = "zeros"


@dataclass
class Matched:
    """What a map made of a file.

    Attributes
    ----------
    tensors : dict of str to Tensor
        By the names here.
    sizes : dict of str to int
        What each letter stands for, and ``#b`` how many numbers a placeholder took.
    parts : set of str
        Parts that are there.
    dropped : dict of str to str
        Published names that were left out, each with the reason.
    """

    tensors: dict[str, Tensor]
    sizes: dict[str, int]
    parts: set[str]
    dropped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KeyMap:
    """All tensors of one family.

    Attributes
    ----------
    title : str
        Of the family, for messages.
    keys : tuple of Key
    drops : tuple of Drop
    aliases : tuple of (str, str)
        Pieces of names of other releases, and what stands for them in ``keys``.
    """

    title: str
    keys: tuple[Key, ...]
    drops: tuple[Drop, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()

    def under(self, prefix: str, own: str = "", part: str = "") -> KeyMap:
        """Return the map with prefixes before published names and names here."""
        return replace(
            self,
            keys=tuple(
                replace(
                    key,
                    published=prefix + key.published,
                    own=own + key.own,
                    part=key.part or part,
                )
                for key in self.keys
            ),
            drops=tuple(replace(one, published=prefix + one.published) for one in self.drops),
        )

    def match(self, tensors: Mapping[str, Tensor]) -> Matched:
        """Take every tensor of a file, or say what is missing, left over or misshapen.

        Raises
        ------
        InputError
        """
        named = {self._plain(name): value for name, value in tensors.items()}
        found: dict[str, tuple[Key, dict[str, str]]] = {}
        dropped: dict[str, str] = {}
        rules = [(_pattern(key.published), key) for key in self.keys]
        reasons = [(_pattern(one.published), one.reason) for one in self.drops]
        left: list[str] = []
        for name in named:
            hit = next(((rule.fullmatch(name), key) for rule, key in rules if rule.fullmatch(name)),
                       None)  # fmt: skip
            if hit is not None:
                assert hit[0] is not None
                found[name] = (hit[1], hit[0].groupdict())
                continue
            reason = next((why for rule, why in reasons if rule.fullmatch(name)), None)
            if reason is None:
                left.append(name)
            else:
                dropped[name] = reason
        parts = {key.part for key, _ in found.values() if key.part}
        missing = self._missing(found, parts)
        if left or missing:
            raise self._unfit(named, left, missing)
        sizes = self._sizes(found, named)
        taken = {
            _filled(key.own, numbers): named[name] if key.apply is None else key.apply(named[name])
            for name, (key, numbers) in found.items()
        }
        return Matched(taken, sizes, parts, dropped)

    def written(
        self, own: Mapping[str, Tensor], sizes: Mapping[str, int], parts: set[str]
    ) -> dict[str, Tensor]:
        """Return tensors under their published names, with what the originals want beside them.

        Parameters
        ----------
        own : mapping of str to Tensor
            By the names here.
        sizes : mapping of str to int
            As :meth:`match` found them.
        parts : set of str
            Parts to write.
        """
        written: dict[str, Tensor] = {}
        for key in self.keys:
            if key.part and key.part not in parts:
                continue
            for numbers in _counted(key.published, sizes):
                value = own[_filled(key.own, numbers)]
                value = value if key.undo is None else key.undo(value)
                written[_filled(key.published, numbers)] = value.contiguous()
        for drop in self.drops:
            if drop.shape is None or "*" in drop.published:
                continue
            for numbers in _counted(drop.published, sizes):
                shape = [_size(one, sizes, numbers) for one in drop.shape]
                made = torch.zeros(shape) if drop.fill == "zeros" else torch.ones(shape)
                written[_filled(drop.published, numbers)] = made
        return written

    def _plain(self, name: str) -> str:
        for other, usual in self.aliases:
            name = name.replace(other, usual)
        return name

    def _missing(
        self, found: Mapping[str, tuple[Key, dict[str, str]]], parts: set[str]
    ) -> list[str]:
        counts: dict[str, int] = {}
        for _, numbers in found.values():
            for place, number in numbers.items():
                counts[f"#{place}"] = max(counts.get(f"#{place}", 0), int(number) + 1)
        wanted = [
            _filled(key.published, numbers)
            for key in self.keys
            if not key.part or key.part in parts
            for numbers in _counted(key.published, counts, least=1)
        ]
        return [name for name in wanted if name not in found]

    def _sizes(
        self,
        found: Mapping[str, tuple[Key, dict[str, str]]],
        named: Mapping[str, Tensor],
    ) -> dict[str, int]:
        sizes: dict[str, int] = {}
        later: list[tuple[str, str, int, dict[str, str]]] = []
        for name, (key, numbers) in found.items():
            for place, number in numbers.items():
                sizes[f"#{place}"] = max(sizes.get(f"#{place}", 0), int(number) + 1)
            shape = tuple(named[name].shape)
            if len(shape) != len(key.shape):
                raise self._misshapen(name, shape, key.shape, sizes, numbers)
            for written, size in zip(key.shape, shape, strict=True):
                text = _filled(str(written), numbers)
                if text.isidentifier():
                    if sizes.setdefault(text, size) != size:
                        raise self._misshapen(name, shape, key.shape, sizes, numbers)
                else:
                    later.append((name, text, size, numbers))
        for name, text, size, numbers in sorted(later, key=lambda one: one[1].count("*")):
            if not _agrees(text, size, sizes):
                key = found[name][0]
                raise self._misshapen(name, tuple(named[name].shape), key.shape, sizes, numbers)
        return sizes

    def _misshapen(
        self,
        name: str,
        shape: tuple[int, ...],
        declared: Sequence[str | int],
        sizes: Mapping[str, int],
        numbers: Mapping[str, str],
    ) -> InputError:
        texts = [_filled(str(one), numbers) for one in declared]
        known = ", ".join(f"{text} = {sizes[text]}" for text in texts if text in sizes)
        return InputError(
            f"the tensor {name} has the shape {shape}",
            expected=f"({', '.join(texts)}), as in {self.title}" + (f", {known}" if known else ""),
            remedy="name the right family with --from; or the file is damaged or was changed",
        )

    def _unfit(
        self, named: Mapping[str, Tensor], left: Sequence[str], missing: Sequence[str]
    ) -> InputError:
        def some(names: Sequence[str]) -> str:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return ", ".join(names[:3]) + more

        problems = []
        if missing:
            problems.append(f"without {some(missing)}")
        if left:
            problems.append(f"with {some(left)}, which {self.title} does not have")
        return InputError(
            f"{len(named)} tensors {' and '.join(problems)}",
            expected=f"every tensor of {self.title}, each used or left out for a reason",
            remedy="name another family with --from, or get the complete file from its source",
        )


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern that finds the numbers of placeholders; ``*`` is anything."""
    made, seen = "", set()
    for piece in re.split(r"(\{\w+\}|\*)", text):
        place = PLACE.fullmatch(piece)
        if piece == "*":
            made += ".*"
        elif place is None:
            made += re.escape(piece)
        elif place[1] in seen:
            made += rf"(?P={place[1]})"
        else:
            seen.add(place[1])
            made += rf"(?P<{place[1]}>0|[1-9]\d{{0,5}})"
    return re.compile(made)


def _filled(text: str, numbers: Mapping[str, str]) -> str:
    return PLACE.sub(lambda hit: numbers.get(hit[1], hit[0]), text)


def _counted(text: str, counts: Mapping[str, int], least: int = 0) -> list[dict[str, str]]:
    """Return all numbers of the placeholders in a name."""
    rows: list[dict[str, str]] = [{}]
    for place in dict.fromkeys(PLACE.findall(text)):
        number = max(counts.get(f"#{place}", 0), least)
        rows = [{**row, place: str(one)} for row in rows for one in range(number)]
    return rows


def _agrees(text: str, size: int, sizes: dict[str, int]) -> bool:
    """Check a number or product, or bind the one letter in it that is unknown."""
    known, unknown = 1, []
    for factor in text.split("*"):
        if factor.isdigit():
            known *= int(factor)
        elif factor in sizes:
            known *= sizes[factor]
        else:
            unknown.append(factor)
    if not unknown:
        return known == size
    if len(unknown) > 1 or known == 0 or size % known:
        return False
    sizes[unknown[0]] = size // known
    return True


def _size(written: str | int, sizes: Mapping[str, int], numbers: Mapping[str, str]) -> int:
    result = 1
    for factor in _filled(str(written), numbers).split("*"):
        result *= int(factor) if factor.isdigit() else sizes[factor]
    return result
