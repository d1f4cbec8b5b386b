"""Which embeddings a published generator takes, and how a target's become them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.checkpoints.registry import ExpectedEmbedding

__all__ = ["Wanted", "at_own_length", "check_target", "same_embedding", "zero_embedding"]

KINDS = ("clip-vision", "open-clip")
PUBLISHED = "published"  # a target that is known by its description alone
WORDS = {
    "pooled": "pooled embeddings",
    "tokens": "tokens before the last layer",
    "patches": "patch tokens of the last layer",
    "projected": "projected tokens",
}


@dataclass(frozen=True)
class Wanted:
    """What loaded networks take: their own shapes say so.

    Attributes
    ----------
    output : {"pooled", "tokens", "patches", "projected"}
        As for :class:`~phosphene.encoders.stimulus.clip_vision.ClipVisionTarget`.
    size : int
        Numbers per vector.
    """

    output: str
    size: int

    def describe(self, published: ExpectedEmbedding | None) -> str:
        """Return it in words, with the published picture encoder where it is that size."""
        words = f"{WORDS[self.output]} of {self.size} numbers"
        if published is None or published.size != self.size:
            return words
        return (
            f"{words} of {published.model} ({published.weights}), "
            f"as the {published.encoder} gives them"
            + (f", colours as in {published.colours}" if published.colours != "clip" else "")
        )


def check_target(
    name: str, wanted: Wanted, published: ExpectedEmbedding | None, target: StimulusEncoder
) -> None:
    """Refuse embeddings of another kind, size or network than the generator was trained on.

    Raises
    ------
    InputError
        Saying what the target gives and what the generator takes.
    """
    spec = target.spec
    given = str(getattr(target, "output", spec.output))
    found = f"{given} embeddings {spec.shape} of the target {target.name}"
    if target.name == PUBLISHED:
        _check_published(name, wanted, published, target)
        return
    problem = ""
    alike = given == wanted.output and spec.shape[-1] == wanted.size
    if not alike or target.name not in KINDS or (given != "pooled" and target.name != KINDS[0]):
        problem = found
    elif published is not None and published.size == wanted.size:
        width, layers = tower(target)
        if (width, layers) != (published.width, published.layers):
            problem = f"{found}, whose network has {layers} layers of width {width}"
        elif published.output != "pooled" and spec.shape[0] != published.tokens:
            problem = found
        elif target.name == KINDS[0] and not _colours_are(target, published.colours):
            problem = f"{found} of pictures normalised with {spec.preprocessing['range']}"
    if problem:
        raise InputError(
            f"{problem} for the generator {name}",
            expected=wanted.describe(published),
            remedy="train a model on that target, or name another generator",
        )


def same_embedding(described: StimulusEncoder, target: StimulusEncoder) -> str:
    """Say in what a picture encoder differs from the one that published weights describe.

    Parameters
    ----------
    described : StimulusEncoder
        A :class:`~phosphene.encoders.stimulus.published.PublishedTarget`.
    target : StimulusEncoder

    Returns
    -------
    str
        Empty where they are the same, as far as configurations can tell.
    """
    import torch

    own, spec = described.config, target.spec
    given = str(getattr(target, "output", spec.output))
    if (
        target.name not in KINDS
        or given != own["output"]
        or tuple(spec.shape) != described.spec.shape
    ):
        return f"gives {given} embeddings of shape {spec.shape}"
    known: Any = target
    if not torch.all(known.target_mean == 0) or not torch.all(known.target_scale == 1):
        return "is standardised over pictures, and the weights predict the network's own numbers"
    if own["width"] and tower(target) != (own["width"], own["layers"]):
        return "is another network, with {1} layers of width {0}".format(*tower(target))
    known_colours = target.name == KINDS[0] and own["colours"] in ("clip", "mindeye2")
    if known_colours and not _colours_are(target, own["colours"]):
        return f"normalises pictures otherwise ({spec.preprocessing['range']})"
    return ""


def _check_published(
    name: str, wanted: Wanted, published: ExpectedEmbedding | None, target: StimulusEncoder
) -> None:
    """Compare what published weights were trained on with what a generator takes."""
    own, shape = target.config, target.spec.shape
    same = own["output"] == wanted.output and shape[-1] == wanted.size
    if same and published is not None and published.size == wanted.size:
        here = (own["model"], own["weights"], own["colours"])
        same = here == (published.model, published.weights, published.colours)
        same = same and (published.output == "pooled" or shape[0] == published.tokens)
    if not same:
        raise InputError(
            f"weights that predict {own['output']} embeddings {shape} of {own['model']} "
            f"({own['weights']}), colours as in {own['colours']}, for the generator {name}",
            expected=wanted.describe(published),
            remedy="name the generator of these weights; `phosphene models list` lists them",
        )


def _colours_are(target: StimulusEncoder, colours: str) -> bool:
    """Return whether pictures are normalised as in the training of a generator."""
    from phosphene.encoders.stimulus.clip_vision import COLOURS

    known = [*COLOURS[colours][0], *COLOURS[colours][1]]
    own = [*target.config["mean"], *target.config["std"]]
    return all(abs(one - other) < 1e-3 for one, other in zip(own, known, strict=True))


def tower(target: StimulusEncoder) -> tuple[int, int]:
    """Return width and number of layers of a target's picture network."""
    model: dict[str, Any] = target.config["model"]
    vision = model.get("vision_cfg")
    if vision is None:
        return int(model["hidden_size"]), int(model["num_hidden_layers"])
    return int(vision["width"]), int(vision["layers"])


def at_own_length(target: StimulusEncoder, values: Tensor, length: float | None) -> Tensor:
    """Undo a target's standardisation; bring unit-length embeddings to the network's own length.

    Parameters
    ----------
    target : StimulusEncoder
        One that :func:`check_target` let through.
    values : Tensor of shape (n, ...)
        In the target's own distribution.
    length : float, optional
        Mean length of the network's embeddings, where the target divides by it.
    """
    shape = target.spec.shape
    if values.shape[1:] != shape:
        raise InputError(
            f"embeddings of shape {tuple(values.shape[1:])}",
            expected=f"{shape}, of the target {target.name}",
        )
    if target.name == "open-clip" and length is None:
        raise UsageError(
            "unit-length embeddings for a generator that needs the network's own length",
            expected="generator_options.embedding_length, the mean length over pictures",
            remedy="train the model on a clip-vision target, which keeps the length",
        )
    known: Any = target
    found: Tensor = values * known.target_scale.to(values) + known.target_mean.to(values)
    return found if target.name == "clip-vision" or length is None else found * length


def zero_embedding(target: StimulusEncoder, like: Tensor) -> Tensor:
    """Return the embedding of an input of zeros; zeros where the target cannot give it.

    Parameters
    ----------
    target : StimulusEncoder
    like : Tensor of shape (n, ...)
        Embeddings at their own length.
    """
    if hasattr(target, "zero_embedding"):
        found: Tensor = target.zero_embedding().to(like)
        return found.expand_as(like)
    return like * 0
