"""From the tokens that a brain encoder predicts to those that a caption decoder reads.

Scotti et al. 2024 (MindEye2) let two linear maps stand between both, one over tokens and one over
numbers of a token. The same map is fitted here in closed form, one side at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phosphene.component import Component, check_tensors, record_config
from phosphene.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TokenConverter"]


class TokenConverter(Component):
    """The map ``Y = A X B + c`` of tokens X (n_in, d_in) to tokens Y (n_out, d_out).

    Parameters
    ----------
    source : tuple of int
        Shape of X; one vector counts as one token.
    result : tuple of int
        Shape of Y.
    target : str
        Hash of the spec of the target whose tokens X are.
    """

    kind = "converter"
    name = "bilinear"

    @record_config
    def __init__(self, source: tuple[int, int], result: tuple[int, int], target: str) -> None:
        import torch

        (n_in, d_in), (n_out, d_out) = source, result
        self.source, self.result, self.target = (n_in, d_in), (n_out, d_out), target
        self.over_tokens = torch.zeros(n_out, n_in)  # A
        self.over_numbers = torch.zeros(d_in, d_out)  # B
        self.offset = torch.zeros(n_out, d_out)  # c

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return tokens (n, n_out, d_out) of tokens (n, n_in, d_in) or vectors (n, d_in)."""
        found = tokens.float().reshape(len(tokens), -1, tokens.shape[-1])
        if tuple(found.shape[1:]) != self.source:
            raise InputError(
                f"embeddings of shape {tuple(found.shape[1:])}",
                expected=f"{self.source}, as the converter was fitted on",
            )
        device = found.device
        left, right = self.over_tokens.to(device), self.over_numbers.to(device)
        converted: Tensor = left @ (found @ right) + self.offset.to(device)
        return converted

    def fit(self, tokens: Tensor, wanted: Tensor, *, penalty: float = 1.0, rounds: int = 8) -> None:
        """Fit by least squares, in turns: each side in closed form while the other one stands.

        The error never grows from one round to the next, up to the penalty.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_in, d_in) or (n, d_in)
        wanted : Tensor of shape (n, n_out, d_out)
        penalty : float
            Of squared weights, in parts of the mean square of what they multiply.
        rounds : int
        """
        import torch

        x = tokens.double().reshape(len(tokens), -1, tokens.shape[-1])
        y = wanted.double()
        if tuple(x.shape[1:]) != self.source or tuple(y.shape[1:]) != self.result:
            raise InputError(
                f"tokens {tuple(x.shape[1:])} and {tuple(y.shape[1:])}",
                expected=f"{self.source} and {self.result}",
            )
        middle_x, middle_y = x.mean(0), y.mean(0)
        x, y = x - middle_x, y - middle_y
        left = _first_left(x.shape[1], y.shape[1]).to(x)
        right = torch.zeros(x.shape[2], y.shape[2]).to(x)
        for _ in range(rounds):
            mixed = left @ x  # (n, n_out, d_in)
            right = _ridge(mixed.flatten(0, 1), y.flatten(0, 1), penalty)
            mapped = x @ right  # (n, n_in, d_out)
            rows = mapped.transpose(1, 2).flatten(0, 1)  # (n * d_out, n_in)
            left = _ridge(rows, y.transpose(1, 2).flatten(0, 1), penalty).T
        self.over_tokens, self.over_numbers = left.float(), right.float()
        self.offset = (middle_y - left @ middle_x @ right).float()

    def tensors(self) -> dict[str, torch.Tensor]:
        return {
            "over_tokens": self.over_tokens,
            "over_numbers": self.over_numbers,
            "offset": self.offset,
        }

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner="converter bilinear")
        for name, value in tensors.items():
            setattr(self, name, value.float())


def _first_left(n_in: int, n_out: int) -> Tensor:
    """Return weights (n_out, n_in) to begin with: a token from those in about the same place."""
    import torch

    there = torch.linspace(0, 1, n_out)[:, None] - torch.linspace(0, 1, n_in)
    weights = torch.exp(-((there * max(n_in, n_out)) ** 2) / 2)
    return weights / weights.sum(1, keepdim=True)


def _ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Return weights (d, k) of x (n, d) for y (n, k)."""
    import torch

    gram = x.T @ x
    size = gram.diagonal().mean().clamp_min(1e-12)
    ridge = penalty * size / len(x) * torch.eye(len(gram)).to(gram)
    found: Tensor = torch.linalg.solve(gram + ridge, x.T @ y)
    return found
