"""Whether a model that is to be judged on test pictures has seen them."""

from __future__ import annotations

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.held_out import HeldOut
from phosphene.errors import InputError
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.materials import refuse_seen_by_target
from phosphene.schemas import Protocol

__all__ = ["names_agree", "refuse_seen"]


def names_agree(training: Protocol, dataset: CanonicalDataset) -> bool:
    """Return whether an identifier means one picture to a model and a dataset.

    Numbers such as ``000012`` name other pictures in every dataset: among strangers only
    contents count, where both sides know them.
    """
    return training.dataset == dataset.file.name or not training.train_picture_hashes


def refuse_seen(model: Reconstructor, dataset: CanonicalDataset) -> str:
    """Raise when a part of the model learned from test pictures of the dataset.

    Parameters
    ----------
    model : Reconstructor
    dataset : CanonicalDataset

    Returns
    -------
    str
        What was checked, in words.

    Raises
    ------
    InputError
        Names the part, and how many pictures it saw.
    """
    parts, guard = model.parts, HeldOut.of_dataset(dataset)
    if not names_agree(parts.protocol, dataset):
        guard = HeldOut(frozenset(), guard.picture_hashes)
    candidates = {
        "training": parts.protocol,
        "preprocessing": parts.preprocessor,
        "target": parts.target,
    }
    try:
        checked = [name for name, part in candidates.items() if guard.check(part, name=name)]
        refuse_seen_by_target(dataset, parts.target, parts.name)
    except InputError as error:
        raise InputError(
            error.found,
            expected=error.expected,
            remedy="judge it on other pictures, or add --allow-seen: every table then says so",
        ) from error
    silent = [name for name in candidates if name not in checked]
    words = f"{' and '.join(checked) or 'no part'} saw no test picture"
    return words + (f"; {' and '.join(silent)} keep no record of their own" if silent else "")
