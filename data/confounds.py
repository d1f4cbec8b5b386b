"""What is wrong with the design of some published sets: their names say it, and so do results.

The name of a prepared dataset stands in the protocol of every model and evaluation; whoever prints
one looks here for what has to be said with it.
"""

from __future__ import annotations

__all__ = ["BLOCK_DESIGN", "CONCEPT_CUE", "CONFOUNDS", "confound_lines"]

BLOCK_DESIGN = "block_design_confound"
CONCEPT_CUE = "concept_cue_confound"
CONFOUNDS = {
    BLOCK_DESIGN: "every class was shown in one block of time",
    CONCEPT_CUE: "people were told the concept 3 s before its clips, and five clips of one concept "
    "followed one another: what is decoded may be expectation and slow drift",
}


def confound_lines(names: str) -> list[str]:
    """Return a line for each confound that the names of datasets tell of.

    Examples
    --------
    >>> confound_lines("eegcvpr40 block_design_confound")
    ['careful: block_design_confound: every class was shown in one block of time']
    """
    return [f"careful: {name}: {words}" for name, words in CONFOUNDS.items() if name in names]
