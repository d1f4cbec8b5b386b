"""Arrays of EEG and MEG epochs with a description of their channels beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phosphene.data.readers.arrays import read_array
from phosphene.schemas.base import Stored
from phosphene.sensors import SensorInfo

if TYPE_CHECKING:
    from phosphene.types import Modality

__all__ = ["SensorsFile", "read_described"]

Array = np.ndarray[Any, Any]


class SensorsFile(Stored):
    """``FILE.json`` beside ``FILE.npy``: what the array's channels and samples are."""

    schema_name: ClassVar[str] = "sensors"
    ch_names: list[str]
    sfreq: float
    tmin: float = 0.0
    unit: str = "V"
    reference: str = "unknown"
    positions: list[list[float]] | None = None

    @classmethod
    def of(cls, info: SensorInfo) -> SensorsFile:
        """Return the description of these sensors."""
        return cls(**info.to_dict())

    @property
    def info(self) -> SensorInfo:
        """The sensors described."""
        return SensorInfo.from_dict(self.model_dump())


def read_described(source: str, modality: Modality) -> tuple[Array, SensorInfo | None]:
    """Read epochs (n_trials, n_chans, n_times) and their sensors, None where nothing tells them.

    Raises
    ------
    InputError
        If the array or its description is damaged, or they differ in the number of channels.
    """
    from phosphene.data.readers.signals import check_signals
    from phosphene.trials import complete_trials
    from phosphene.types import Recording

    epochs = read_array(source)
    head, separator, _ = source.rpartition(".npz:")
    beside = Path(f"{head}.npz" if separator else source).with_suffix(".json")
    info = SensorsFile.load(beside).info if beside.is_file() else None
    check_signals(
        Recording(epochs, modality, "01", complete_trials(None, len(epochs)), info=info), source
    )
    return epochs, info
