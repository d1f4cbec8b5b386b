"""Virtual EEG and MEG subjects: the cortex of the virtual fMRI subjects, seen from outside.

The subject of a label has one cortex; :class:`VirtualHead` adds a head model, sensors, responses
in time and noise. They are always called virtual and never presented as human data.
"""

from phosphene.data.virtual.electric.experiment import ElectricSimulation, plan_stream
from phosphene.data.virtual.electric.frozen import HEAD_HASH, head_hash
from phosphene.data.virtual.electric.head import VirtualHead
from phosphene.data.virtual.electric.observer import ideal_electric
from phosphene.data.virtual.electric.presets import (
    ELECTRIC_PRESETS,
    ELECTRIC_VERSION,
    ElectricPreset,
)
from phosphene.data.virtual.electric.writing import epochs_path, write_electric

__all__ = [
    "ELECTRIC_PRESETS",
    "ELECTRIC_VERSION",
    "HEAD_HASH",
    "ElectricPreset",
    "ElectricSimulation",
    "VirtualHead",
    "epochs_path",
    "head_hash",
    "ideal_electric",
    "plan_stream",
    "write_electric",
]
