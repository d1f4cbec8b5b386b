"""What encoders of EEG and MEG share: the words of a signal, subjects, the unknown one, encoding.

The six words of a signal are those of braindecode: ``n_outputs``, ``n_chans``, ``chs_info``,
``n_times``, ``input_window_seconds`` and ``sfreq``. Names alone (``ch_names``) do for ``chs_info``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.batches import in_equal_blocks
from phosphene.component import Component
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject
from phosphene.sensors import standard_name
from phosphene.types import BrainEmbedding, Recording

__all__ = ["ElectricEncoder", "Signal", "positions_of", "signal_words"]

ROWS = 1024  # trials that are read at a time
FIRST_SCALE = float(np.log(1 / 0.07))
LARGEST_SCALE = float(np.log(100.0))


@dataclass(frozen=True)
class Signal:
    """The words of a signal, complete.

    Attributes
    ----------
    n_outputs : int
        Width of the embedding.
    n_chans, n_times : int
    sfreq : float, optional
        Hertz.
    ch_names : tuple of str
        Empty where channels are not named.
    """

    n_outputs: int
    n_chans: int
    n_times: int
    sfreq: float | None
    ch_names: tuple[str, ...]


def signal_words(
    n_outputs: int,
    n_chans: int | None,
    n_times: int | None,
    sfreq: float | None,
    input_window_seconds: float | None,
    ch_names: Sequence[str] | None,
    chs_info: Sequence[Mapping[str, Any]] | None = None,
) -> Signal:
    """Fill in what follows from the other words, and refuse what contradicts them.

    Parameters
    ----------
    n_outputs : int
        Width of the embedding.
    n_chans, n_times : int, optional
    sfreq : float, optional
        Hertz.
    input_window_seconds : float, optional
    ch_names : sequence of str, optional
    chs_info : sequence of mappings, optional
        As MNE's ``info["chs"]``: a ``ch_name`` each, and ``loc`` with the position in metres.

    Raises
    ------
    UsageError
        If a word is missing that does not follow, or words contradict each other.
    """
    names = tuple(str(name) for name in ch_names or ())
    described = tuple(str(channel["ch_name"]) for channel in _described(chs_info))
    if (
        names
        and described
        and list(map(standard_name, names)) != list(map(standard_name, described))
    ):
        raise UsageError(
            f"`ch_names` with {names[0]}, ... and `chs_info` with {described[0]}, ...",
            expected="one of them, or the same names in both",
        )
    names = names or described
    if n_chans is None and names:
        n_chans = len(names)
    if n_times is None and sfreq and input_window_seconds:
        n_times = round(sfreq * input_window_seconds)
    if sfreq is None and n_times and input_window_seconds:
        sfreq = n_times / input_window_seconds
    if n_chans is None or n_times is None or min(n_outputs, n_chans, n_times) < 1:
        raise UsageError(
            f"{n_outputs} outputs, {n_chans} channels and {n_times} samples",
            expected="at least one of each: n_chans or ch_names; n_times, or sfreq with "
            "input_window_seconds",
        )
    if names and (len(names) != n_chans or len(set(map(standard_name, names))) != n_chans):
        raise UsageError(
            f"{len(set(map(standard_name, names)))} different names for {n_chans} channels",
            expected="one name per channel, each once",
        )
    if sfreq and input_window_seconds and round(sfreq * input_window_seconds) != n_times:
        raise UsageError(
            f"{input_window_seconds:g} s at {sfreq:g} Hz for {n_times} samples",
            expected=f"{n_times / sfreq:g} s",
        )
    return Signal(n_outputs, n_chans, n_times, sfreq, names)


def positions_of(
    chs_info: Sequence[Mapping[str, Any]] | None,
) -> list[tuple[float, float, float]] | None:
    """Return where the channels of ``chs_info`` are in metres, None unless all say it."""
    places = [
        np.asarray(channel.get("loc", ()), dtype=np.float64)[:3] for channel in _described(chs_info)
    ]
    if not places or any(
        p.shape != (3,) or not np.isfinite(p).all() or not p.any() for p in places
    ):
        return None
    return [(float(x), float(y), float(z)) for x, y, z in places]


def _described(chs_info: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    channels = list(chs_info or ())
    if not all(isinstance(c, Mapping) and "ch_name" in c for c in channels):
        raise UsageError(
            "`chs_info` has an entry without ch_name",
            expected="a mapping with ch_name (and loc) per channel, as MNE's info['chs']",
        )
    return channels


class ElectricEncoder(nn.Module, Component, ABC):
    """EEG or MEG to a pooled embedding by a network.

    Subjects are known by label. A row of a batch without a known subject goes the way of an
    unknown one, which training takes with the probability ``subject_dropout``; an encoder without
    parts of a subject ignores the label.

    Attributes
    ----------
    signal : Signal
    logit_scale : Parameter
        Logarithm of the temperature's inverse, part of the checkpoint; :attr:`scale` is its
        exponential, at most 100.
    """

    kind = "encoder"
    block: int = 32  # rows of the network at a time

    def __init__(self, signal: Signal, subjects: Sequence[str] = ()) -> None:
        super().__init__()
        self.signal = signal
        self.subjects = [check_subject(label) for label in subjects]
        if len(set(self.subjects)) != len(self.subjects):
            raise UsageError("`subjects` names a subject twice", "every label once")
        self.logit_scale = nn.Parameter(torch.tensor(FIRST_SCALE))

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, of ``chs_info`` the names and positions."""
        config = super().config
        if config.get("chs_info") is not None:
            channels = _described(config["chs_info"])
            config["chs_info"] = [{"ch_name": str(channel["ch_name"])} for channel in channels]
            for row, place in zip(config["chs_info"], positions_of(channels) or (), strict=False):
                row["loc"] = list(place)
        return config

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied with in a contrastive loss, from 1 to 100."""
        return self.logit_scale.clamp(0.0, LARGEST_SCALE).exp()

    @abstractmethod
    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Return embeddings (n, n_outputs).

        Parameters
        ----------
        x : Tensor of shape (n, n_chans, n_times)
        subject : Tensor of shape (n,), integer, optional
            From :meth:`index_of`; all rows are of the unknown subject without it.
        positions : Tensor of shape (n_chans, 3), optional
            Sensor positions in metres, for encoders that use them.
        """

    @property
    def n_targets(self) -> int:
        """Numbers of a target that it is trained on."""
        return self.signal.n_outputs

    def picture_keys(self, targets: Tensor) -> Tensor:
        """Return what embeddings are compared with: the targets (n, n_targets) themselves."""
        return targets

    def regress(self, embedded: Tensor) -> Tensor:
        """Return the prediction of targets (n, n_targets): the embedding itself."""
        return embedded

    def index_of(self, subject: str) -> int:
        """Return the number of a subject in this encoder: 0 for one it does not know."""
        label = check_subject(subject)
        return self.subjects.index(label) + 1 if label in self.subjects else 0

    def encode(self, recording: Recording) -> BrainEmbedding:
        """Predict the embedding of each trial; a batch gives what its rows give alone.

        Raises
        ------
        InputError
            If channels or samples differ from those it was trained on.
        """
        self.check(recording)
        number = self.index_of(recording.subject)
        places = None if recording.info is None else recording.info.positions
        like, training = next(self.parameters()), self.training
        positions = None if places is None else torch.from_numpy(places.copy()).to(like)

        def rows_of(x: Tensor) -> Tensor:
            subject = torch.full((len(x),), number, device=x.device)
            found: Tensor = self(x, subject, positions)
            return found

        self.eval()
        try:
            with torch.no_grad():
                pooled = torch.cat(
                    [
                        in_equal_blocks(
                            rows_of,
                            torch.from_numpy(
                                np.array(recording.data[start : start + ROWS], dtype=np.float32)
                            ).to(like),
                            size=self.block,
                        )
                        for start in range(0, len(recording), ROWS)
                    ]
                )
        finally:
            self.train(training)
        return BrainEmbedding(pooled=pooled)

    def check(self, recording: Recording) -> None:
        """Refuse a recording with other channels, another rate or another length."""
        wanted, found, info = self.signal, recording.data.shape, recording.info
        remedy = "bring it to the model's channels, rate and window: phosphene.data.conform"
        if found[1:] != (wanted.n_chans, wanted.n_times):
            raise InputError(
                f"trials of {found[1]} channels x {found[2]} samples",
                expected=f"{wanted.n_chans} x {wanted.n_times}, as in its training",
                remedy=remedy,
            )
        if info is None:
            return
        names = [standard_name(name) for name in info.ch_names]
        if wanted.ch_names and names != [standard_name(name) for name in wanted.ch_names]:
            raise InputError(
                f"the channels {', '.join(info.ch_names[:6])}, ...",
                expected=f"{', '.join(wanted.ch_names[:6])}, ... in that order",
                remedy=remedy,
            )
        if wanted.sfreq and abs(info.sfreq - wanted.sfreq) > 1e-3 * wanted.sfreq:
            raise InputError(
                f"a sampling rate of {info.sfreq:g} Hz", f"{wanted.sfreq:g} Hz", remedy
            )

    def get_output_shape(self) -> tuple[int, ...]:
        """Return (1, n_outputs), as braindecode's models do."""
        return (1, self.signal.n_outputs)


def drop_subjects(subject: Tensor, probability: float, *, training: bool) -> Tensor:
    """Return subject numbers with some of them made unknown (0), in training alone."""
    if not training or probability <= 0:
        return subject
    kept = torch.rand(subject.shape, device=subject.device) >= probability
    return subject * kept


def residual_projector(width: int, n_outputs: int, dropout: float) -> nn.Sequential:
    """Return linear, residual (GELU, linear, dropout) and layer norm: these networks' head."""
    return nn.Sequential(
        nn.Linear(width, n_outputs), _Residual(n_outputs, dropout), nn.LayerNorm(n_outputs)
    )


class _Residual(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.inner(x)
        return added


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
