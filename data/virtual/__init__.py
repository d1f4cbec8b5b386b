"""Virtual fMRI subjects: people that any label makes up, with everything about them known.

:class:`VirtualSubject` turns scenes into the signal of every voxel and into single-trial betas;
:func:`write_experiment` writes them in BIDS form with the truth beside them. They are always
called virtual and never presented as human data.
"""

from phosphene.data.virtual.areas import AREA_NAMES, PRESETS, VERSION, Preset
from phosphene.data.virtual.confounds import CONFOUNDS
from phosphene.data.virtual.experiment import Simulation, plan_trials
from phosphene.data.virtual.frozen import SUBJECT_HASH, subject_hash
from phosphene.data.virtual.ideal_observer import (
    IdealIdentification,
    Observer,
    fraction_of_ideal,
    ideal_identification,
    posterior_mean,
)
from phosphene.data.virtual.linear_observer import LinearObserver
from phosphene.data.virtual.scene_bank import SceneBank, build_bank, ideal_pixels
from phosphene.data.virtual.stimuli import HOLD_OUTS, Stimuli, choose_stimuli, read_photographs
from phosphene.data.virtual.subject import VirtualSubject
from phosphene.data.virtual.writing import mask_path, write_experiment

__all__ = [
    "AREA_NAMES",
    "CONFOUNDS",
    "HOLD_OUTS",
    "PRESETS",
    "SUBJECT_HASH",
    "VERSION",
    "IdealIdentification",
    "LinearObserver",
    "Observer",
    "Preset",
    "SceneBank",
    "Simulation",
    "Stimuli",
    "VirtualSubject",
    "build_bank",
    "choose_stimuli",
    "fraction_of_ideal",
    "ideal_identification",
    "ideal_pixels",
    "mask_path",
    "plan_trials",
    "posterior_mean",
    "read_photographs",
    "subject_hash",
    "write_experiment",
]
