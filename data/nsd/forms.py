"""The forms in which NSD circulates, each recognised by its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from phosphene.data.nsd.brain_diffuser import is_brain_diffuser
from phosphene.data.nsd.brain_it import is_brain_it
from phosphene.data.nsd.mindeye1 import is_mindeye1
from phosphene.data.nsd.mindeye2 import is_mindeye2
from phosphene.data.nsd.official import is_official
from phosphene.errors import InputError, check_option

__all__ = ["FORMS", "recognise"]

FORMS: dict[str, Callable[[Path], bool]] = {
    "brain-diffuser": is_brain_diffuser,
    "brain-it": is_brain_it,
    "mindeye1": is_mindeye1,
    "mindeye2": is_mindeye2,
    "official": is_official,
}


def recognise(source: Path, form: str | None = None) -> str:
    """Return the form that a folder holds, or check that it holds the one that is named.

    Raises
    ------
    InputError
        If it holds none, or several and none was named.
    """
    if not source.is_dir():
        raise InputError(f"there is no folder {source}", "the folder that holds NSD")
    if form is not None:
        check_option("form", form, FORMS)
    found = [name for name, holds in FORMS.items() if form in (None, name) and holds(source)]
    if len(found) != 1:
        raise InputError(
            f"{source} holds " + (f"the forms {', '.join(found)}" if found else "no form of NSD"),
            expected="nsddata and nsddata_betas as in the bucket of NSD, or the files of "
            "MindEye1 (webdataset_avg_split), MindEye2 (wds, betas_all_subj01_fp32_renorm.hdf5), "
            "Brain-Diffuser (nsd_train_fmriavg_nsdgeneral_sub1.npy) or Brain-IT (fmri_v2.npz)",
            remedy="name one with --form" if found else "name the right folder with --source",
        )
    return found[0]
