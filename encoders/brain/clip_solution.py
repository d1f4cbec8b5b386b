"""What a video decoder has learned of one subject, and how that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from phosphene.encoders.brain.flow_network import RUNS, FlowNetwork
from phosphene.encoders.brain.shared_trunk import SharedTrunk
from phosphene.errors import InputError

__all__ = ["ClipSolution"]

LINEAR = ("x_mean", "trunk", "y_mean", "heads")


@dataclass(eq=False)
class ClipSolution:
    """One subject's solution.

    Attributes
    ----------
    linear : SharedTrunk
        To all linear heads.
    cut : Tensor of shape (len(RUNS), k + 1)
        Weights of k agreements of two halves of a window, and a constant, by showings.
    flow : FlowNetwork, optional
        Reads flow in place of the linear head.
    """

    linear: SharedTrunk
    cut: Tensor
    flow: FlowNetwork | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that is stored, by name."""
        found = {name: getattr(self.linear, name) for name in LINEAR} | {"cut": self.cut}
        if self.flow is not None:
            found |= {f"flow.{name}": part for name, part in self.flow.state_dict().items()}
        return found

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        outputs: int,
        agreements: int,
        flow: FlowNetwork | None,
        owner: str,
    ) -> Self:
        """Build it from what :meth:`tensors` gave.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        outputs, agreements : int
            Numbers of the linear heads, and of heads whose halves are compared.
        flow : FlowNetwork or None
            Of the right size; its values are read.
        owner : str
            Whose they are, for messages.

        Raises
        ------
        InputError
            If one is missing or has another shape.
        """
        try:
            linear = SharedTrunk(*(tensors[name].float() for name in LINEAR))
            found = cls(linear, tensors["cut"].float(), flow)
        except KeyError as error:
            raise InputError(
                f"the weights of {owner} have no {error.args[0]}",
                expected=f"{', '.join(LINEAR)} and cut of each subject",
                remedy="copy the model again from its source",
            ) from error
        p, r = linear.trunk.shape
        shapes = tuple(tuple(getattr(linear, name).shape) for name in LINEAR)
        fits = shapes == ((p,), (p, r), (outputs,), (r, outputs))
        if not fits or found.cut.shape != (len(RUNS), agreements + 1):
            raise _other(owner)
        if flow is not None:
            stored = {
                name.removeprefix("flow."): part
                for name, part in tensors.items()
                if name.startswith("flow.")
            }
            try:
                flow.load_state_dict(stored)
            except RuntimeError as error:
                raise _other(owner) from error
            flow.requires_grad_(False)
        return found


def _other(owner: str) -> InputError:
    return InputError(
        f"the weights of {owner} do not fit its heads",
        expected="the tensors that its configuration describes",
        remedy="config.json and model.safetensors must come from the same model",
    )
