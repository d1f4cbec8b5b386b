"""What a report says of a folder that a command has written."""

from __future__ import annotations

import os
from pathlib import Path

from phosphene.pipelines.report.content import Content

__all__ = ["read_content"]


def read_content(
    folder: str | os.PathLike[str], *, stimuli: bool = True, model: str | None = None
) -> Content:
    """Read an output folder of ``reconstruct`` or of ``phosphene evaluate``.

    Parameters
    ----------
    folder : path
    stimuli : bool
        False leaves out the shown pictures and their names.
    model : str, optional
        Where the model lies, for the map of voxels; by default where the run found it.

    Raises
    ------
    InputError
        If it is neither, or damaged.
    """
    from phosphene.pipelines.reconstruction import Reconstruction
    from phosphene.pipelines.report.from_evaluation import EVALUATION, content_of_evaluation
    from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction

    if (Path(folder) / EVALUATION).is_file():
        return content_of_evaluation(folder, stimuli=stimuli, model=model)
    return content_of_reconstruction(Reconstruction.load(folder), stimuli=stimuli, model=model)
