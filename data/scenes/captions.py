"""Captions by a small grammar, and the grammar read backwards.

Captions name how many solids there are and each one's colour and shape, most often its material
and size. They never name where anything is, how it is turned, or anything of camera, light,
ground and sky. They are a function of the named factors alone: neither the wording nor the
order in which solids are mentioned carries anything about the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phosphene.data.scenes.description import Scene
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.vocabulary import COLOURS
from phosphene.errors import InputError

__all__ = [
    "NamedSolid",
    "caption_vocabulary",
    "captions",
    "describes",
    "parse_caption",
]

_NOUNS: dict[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball"),
    "cube": ("cube", "block"),
    "cylinder": ("cylinder", "drum"),
    "cone": ("cone",),
    "torus": ("torus", "ring"),
    "ellipsoid": ("ellipsoid", "egg"),
    "capsule": ("capsule", "pill"),
    "pyramid": ("pyramid",),
    "octahedron": ("octahedron", "diamond"),
}
_ADJECTIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "size": {"small": ("small", "little"), "large": ("large", "big")},
    "material": {
        "matte": ("matte", "dull"),
        "glossy": ("glossy", "polished"),
        "metal": ("metal", "metallic"),
        "checkered": ("checkered", "chequered"),
        "striped": ("striped", "banded"),
    },
}
_PARTICIPLES: dict[str, tuple[str, ...]] = {
    "rest": ("resting", "waiting"),
    "spin": ("spinning", "turning"),
    "glide": ("gliding", "sliding"),
    "bounce": ("bouncing", "hopping"),
}
_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")
_OPENINGS = ("", "a picture of ", "a scene with ", "an image of ", "{count} solids: ")
_KEEP_MATERIAL, _KEEP_SIZE = 0.8, 0.65


@dataclass(frozen=True, order=True)
class NamedSolid:
    """What a caption says of one solid; empty where it says nothing."""

    shape: str
    colour: str
    material: str = ""
    size: str = ""
    motion: str = ""


def named_solids(scene: Scene, motions: Sequence[str] = ()) -> list[NamedSolid]:
    """Return the named factors of every solid, sorted, so that their order says nothing."""
    words = motions or [""] * len(scene.solids)
    return sorted(
        NamedSolid(s.shape, s.colour, s.material, s.size, motion)
        for s, motion in zip(scene.solids, words, strict=True)
    )


def captions(
    scene: Scene, count: int = 5, *, seed: int = 0, motions: Sequence[str] = ()
) -> list[str]:
    """Return different captions of one scene; the first names all it may and starts plainly.

    Parameters
    ----------
    scene : Scene
    count : int
        How many, 1 to 20.
    seed : int
        Chooses wording, order of mention and what is left out.
    motions : sequence of str
        For a moving scene, how each solid moves.

    Examples
    --------
    >>> from phosphene.data.scenes import sample_scene
    >>> captions(sample_scene(0), 1)
    ['a large yellow matte cone and a large brown matte torus']
    """
    if not 1 <= count <= 20:
        raise InputError(f"{count} captions of one scene", expected="1 to 20")
    if not 1 <= len(scene.solids) < len(_NUMBERS):
        raise InputError(
            f"a scene of {len(scene.solids)} solids",
            expected=f"1 to {len(_NUMBERS) - 1}, as many as the grammar can count",
        )
    named = named_solids(scene, motions)
    key = "|".join("/".join((s.shape, s.colour, s.material, s.size, s.motion)) for s in named)
    found: list[str] = []
    attempt = 0
    while len(found) < count:
        draws = Draws("caption", key, seed, attempt)
        text = _caption(draws.shuffled(named), draws, plain=attempt == 0)
        attempt += 1
        if text not in found:
            found.append(text)
    return found


def _caption(solids: list[NamedSolid], draws: Draws, plain: bool) -> str:
    opening = "" if plain else draws.choice(_OPENINGS)
    if "{count}" in opening and len(solids) == 1:
        opening = ""
    phrases = [_phrase(solid, draws, plain) for solid in solids]
    listed = phrases[0]
    if len(phrases) > 1:
        listed = ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return opening.format(count=_NUMBERS[len(solids)]) + listed


def _phrase(solid: NamedSolid, draws: Draws, plain: bool) -> str:
    def word(options: tuple[str, ...]) -> str:
        return options[0] if plain else draws.choice(options)

    words = [solid.colour]
    if plain or draws.chance(_KEEP_SIZE):
        words.insert(0, word(_ADJECTIVES["size"][solid.size]))
    if plain or draws.chance(_KEEP_MATERIAL):
        words.append(word(_ADJECTIVES["material"][solid.material]))
    words.append(word(_NOUNS[solid.shape]))
    if solid.motion:
        words.append(word(_PARTICIPLES[solid.motion]))
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _lexicon() -> dict[str, tuple[str, str]]:
    """Return what every word of a phrase says: factor and value."""
    words = {noun: ("shape", shape) for shape, nouns in _NOUNS.items() for noun in nouns}
    words |= {colour: ("colour", colour) for colour in COLOURS}
    for factor, values in _ADJECTIVES.items():
        words |= {word: (factor, value) for value, many in values.items() for word in many}
    words |= {word: ("motion", motion) for motion, many in _PARTICIPLES.items() for word in many}
    return words


def caption_vocabulary() -> frozenset[str]:
    """Return every word that any caption may contain."""
    openings = " ".join(_OPENINGS).replace("{count}", "").replace(":", "").split()
    return frozenset([*_lexicon(), *openings, *_NUMBERS, "a", "an", "and"])


def parse_caption(text: str) -> tuple[NamedSolid, ...]:
    """Return what a caption of one scene says of its solids, in the order of mention.

    Raises
    ------
    InputError
        If the grammar cannot have produced the text.

    Examples
    --------
    >>> parse_caption("a scene with a big red metallic ball")[0].material
    'metal'
    """
    body, announced = text, ""
    for opening in _OPENINGS[1:]:
        before, _, after = opening.partition("{count}")
        head, found, tail = body.partition(after or before)
        if found and (head in _NUMBERS if after else not head):
            body, announced = tail, head
            break
    lexicon = _lexicon()
    solids = []
    for phrase in body.replace(" and ", ", ").split(", "):
        article, *words = phrase.split() or [""]
        if article not in ("a", "an") or any(word not in lexicon for word in words):
            raise InputError(f"{phrase!r} in a caption", expected="a phrase of the caption grammar")
        said = dict(lexicon[word] for word in words)
        if len(said) != len(words) or "shape" not in said or "colour" not in said:
            raise InputError(f"{phrase!r} in a caption", expected="one colour and one shape")
        solids.append(NamedSolid(**said))
    if announced and _NUMBERS.index(announced) != len(solids):
        raise InputError(f"{text!r} announces {announced} solids", expected=f"{len(solids)}")
    return tuple(solids)


def describes(text: str, scene: Scene, motions: Sequence[str] = ()) -> bool:
    """Whether a caption is true of a scene: its phrases fit the solids one to one."""
    phrases, solids = parse_caption(text), named_solids(scene, motions)
    return len(phrases) == len(solids) and _matching(list(phrases), solids)


def _matching(phrases: list[NamedSolid], solids: list[NamedSolid]) -> bool:
    """Whether phrases can be given to solids one to one (few enough to try in turn)."""
    if not phrases:
        return True
    return any(
        _fits(phrases[0], solid) and _matching(phrases[1:], solids[:k] + solids[k + 1 :])
        for k, solid in enumerate(solids)
    )


def _fits(phrase: NamedSolid, solid: NamedSolid) -> bool:
    said = (phrase.material, phrase.size, phrase.motion)
    true = (solid.material, solid.size, solid.motion)
    return (phrase.shape, phrase.colour) == (solid.shape, solid.colour) and all(
        a in ("", b) for a, b in zip(said, true, strict=True)
    )
