"""``phosphene prepare god``: Generic Object Decoding from OpenNeuro ds001246, raw or prepared.

Series of the perception task in BIDS form become single-trial betas; sessions named
``perceptionTest`` test, their categories occur nowhere in training. A block shows one picture for
9 s. Imagery is left out: nobody saw a picture there.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from phosphene.data.bold.prepare import BidsSettings, prepare_bids
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.public import not_here
from phosphene.data.public.writing import PublicSettings
from phosphene.errors import InputError

__all__ = ["prepare_god"]

TASK, TEST = "perception", "session=perceptionTest*"
LICENCE = "CC0 (recordings); ImageNet terms (pictures)"


def prepare_god(
    source: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    settings: PublicSettings,
    bids: BidsSettings | None = None,
) -> tuple[CanonicalDataset, list[str]]:
    """Read a local copy of ds001246 and write a canonical dataset.

    Parameters
    ----------
    source : path or None
        The dataset, with its series; with fMRIPrep's output among its derivatives, that is used.
    output : path
    settings : PublicSettings
    bids : BidsSettings, optional
        Model, space, confounds.

    Raises
    ------
    AssetError
        Without a folder: how the dataset is obtained.
    InputError
        If the perception task is not there.
    """
    if source is None:
        raise not_here("god", "there is no fetcher for it")
    folder = Path(source)
    if settings.pictures and settings.stimuli is None:
        raise InputError(
            "the pictures of Generic Object Decoding are not part of ds001246",
            expected="a folder of them, named as n02139199_10398.JPEG is",
            remedy="obtain them from the authors and name their folder with --stimuli, or use "
            "--no-pictures",
        )
    chosen = replace(
        bids or BidsSettings(task=TASK),
        task=TASK,
        roi=settings.roi,
        stimulus_column="stimulus_name",
        kinds=["stimulus"],
        test=[TEST],
        stimuli=str(settings.stimuli) if settings.pictures else None,
        reliability=settings.reliability,
        name="god",
        licence=LICENCE,
        dtype=settings.dtype,
    )
    return prepare_bids(folder, output, settings.subjects, chosen)
