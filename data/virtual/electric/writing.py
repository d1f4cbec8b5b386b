"""Writing simulated EEG or MEG as MNE epochs, with pictures and the truth beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import phosphene
from phosphene.data.virtual.electric.experiment import ElectricSimulation, plan_stream
from phosphene.data.virtual.electric.head import VirtualHead
from phosphene.data.virtual.electric.observer import ideal_electric
from phosphene.data.virtual.electric.presets import ELECTRIC_VERSION
from phosphene.data.virtual.ideal_observer import REPETITIONS
from phosphene.data.virtual.stimuli import Stimuli
from phosphene.data.virtual.writing import save_table, write_factors, write_stimuli
from phosphene.names import require
from phosphene.storage import new_folder, save_array, write_json

__all__ = ["epochs_path", "write_electric"]

Array = np.ndarray[Any, Any]


def epochs_path(folder: str | os.PathLike[str], subject: str, modality: str) -> Path:
    """Return where a simulation keeps its epochs."""
    return Path(folder) / f"sub-{subject}" / modality / f"sub-{subject}_task-scenes_epo.fif"


def write_electric(
    folder: str | os.PathLike[str],
    head: VirtualHead,
    stimuli: Stimuli,
    *,
    repetitions: int | None = None,
    seed: int = 0,
    sessions: int | None = None,
) -> ElectricSimulation:
    """Simulate an experiment and write epochs, stimuli and truth into a new folder.

    Parameters
    ----------
    folder : path
        Must not exist or be empty.
    head : VirtualHead
    stimuli : Stimuli
    repetitions, seed, sessions
        As in :meth:`VirtualHead.simulate`.

    Raises
    ------
    UsageError
        If the folder is not empty or arguments do not go together.
    AssetError
        If MNE is not installed.
    """
    require("mne", "eeg")
    # Wrong numbers end here and not after all pictures have been seen.
    shown = head.preset.repetitions if repetitions is None else repetitions
    plan_stream(len(stimuli), shown, seed=seed, sessions=sessions)
    with new_folder(folder) as root:
        drives = head.drives(stimuli.scenes, stimuli.images)
        simulation = head.simulate(drives, repetitions=shown, seed=seed, sessions=sessions)
        _write_epochs(root, simulation, stimuli)
        write_stimuli(root / "stimuli", stimuli)
        _write_truth(root / "truth", simulation, stimuli, seed)
        write_json(root / "dataset_description.json", _description(head))
    return simulation


def _write_epochs(root: Path, simulation: ElectricSimulation, stimuli: Stimuli) -> None:
    mne = require("mne", "eeg")
    head = simulation.head
    recording = simulation.recording(stimuli.ids, stimuli.splits)
    names = {name: number for number, name in enumerate(stimuli.ids, start=1)}
    codes = [names[name] for name in recording.trials["stimulus_id"]]
    # Samples have to increase; runs are laid one after the other.
    samples = np.arange(len(codes)) * head.preset.n_times
    events = np.stack([samples, np.zeros_like(samples), codes], axis=1)
    used = {name: code for name, code in names.items() if code in set(codes)}
    epochs = mne.EpochsArray(
        simulation.epochs.astype(np.float64),
        _mne_info(head),
        events,
        tmin=head.preset.tmin,
        event_id=used,
        metadata=recording.trials.reset_index(drop=True),
        baseline=None,
        verbose="error",
    )
    path = epochs_path(root, head.label, head.preset.modality)
    path.parent.mkdir(parents=True)
    epochs.save(path, fmt="single", verbose="error")


def _mne_info(head: VirtualHead) -> Any:
    """Return MNE's description of the sensors, with positions in head coordinates."""
    mne = require("mne", "eeg")
    info, is_meg = head.info, head.preset.modality == "meg"
    made = mne.create_info(list(info.ch_names), info.sfreq, "mag" if is_meg else "eeg")
    for channel, place, outwards in zip(
        made["chs"], info.positions if info.positions is not None else (), head.directions,
        strict=True,
    ):  # fmt: skip
        channel["loc"][:3] = place
        codes = mne.io.constants.FIFF
        channel["coord_frame"] = codes.FIFFV_COORD_DEVICE if is_meg else codes.FIFFV_COORD_HEAD
        if is_meg:
            channel["coil_type"] = codes.FIFFV_COIL_CTF_GRAD
            channel["loc"][3:12] = _axes(outwards).ravel()
    if is_meg:  # the head's middle is that of the helmet
        with made._unlock():
            made["dev_head_t"] = mne.transforms.Transform("meg", "head")
    reference = "" if is_meg else " reference: average"
    made["description"] = f"virtual subject {head.label}, not human data.{reference}"
    return made


def _axes(outwards: Array) -> Array:
    """Return two directions in the plane of a coil and its normal (3, 3)."""
    across = np.cross(outwards, [1.0, 0, 0] if abs(outwards[0]) < 0.9 else [0, 1.0, 0])
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(outwards, across), outwards])


def _write_truth(folder: Path, simulation: ElectricSimulation, stimuli: Stimuli, seed: int) -> None:
    head = simulation.head
    preset, anatomy = head.preset, head.cortex.anatomy
    save_array(folder / "signal.npy", simulation.signal)
    background = head.background()
    save_array(folder / "noise_spatial.npy", background.spatial)
    save_array(folder / "alpha_spatial.npy", background.alpha)
    trials = simulation.trials.copy()
    trials["stimulus_id"] = np.array(stimuli.ids, dtype=object)[trials["stimulus"].to_numpy()]
    save_table(folder / "trials.tsv", trials.drop(columns="stimulus"))
    write_factors(folder, stimuli)
    sensors = pd.DataFrame(head.info.positions, columns=["x", "y", "z"])
    sensors.insert(0, "name", list(head.info.ch_names))
    save_table(folder / "sensors.tsv", sensors)
    sources = pd.DataFrame(
        np.hstack([head.sources.positions, head.sources.normals]),
        columns=["x", "y", "z", "normal_x", "normal_y", "normal_z"],
    )
    sources.insert(0, "area", anatomy.area_names)
    sources["latency_seconds"] = head.sources.latency
    save_table(folder / "sources.tsv", sources)
    settings = {
        "virtual": True,
        "version": ELECTRIC_VERSION,
        "subject": head.label,
        "preset": preset.name,
        "seed": seed,
        "units": "V" if preset.modality == "eeg" else "T",
        "sfreq": preset.sfreq,
        "tmin": preset.tmin,
        "soa_seconds": preset.soa,
    }
    write_json(folder / "simulation.json", settings)
    rows = np.flatnonzero(np.array(stimuli.splits) == "test")
    scores = ideal_electric(head, simulation.signal[rows])
    content = {
        "repetitions": list(REPETITIONS),
        "pictures": len(rows),
        "identification": [score.to_dict() for score in scores],
        "known_to_it": "sensors in place, gain, blinks, responses to neighbouring pictures",
    }
    write_json(folder / "ideal_observer.json", content)


def _description(head: VirtualHead) -> dict[str, Any]:
    kind = head.preset.modality.upper()
    return {
        "Name": f"Virtual {kind} subject {head.label} looking at scenes",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": "Apache-2.0",
        "GeneratedBy": [
            {
                "Name": "phosphene",
                "Version": phosphene.__version__,
                "Description": f"Simulation: virtual {kind} subject, version {ELECTRIC_VERSION}, "
                f"preset {head.preset.name}. Not human data.",
            }
        ],
    }
