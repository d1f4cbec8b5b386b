"""Counts of the Natural Scenes Dataset that any copy of it can be checked against.

Allen et al. (2022), *Nat. Neurosci.* 25. Until the last three sessions of every subject were
released, results were computed without them: of the 1,000 pictures that all subjects were to see,
982 had been shown to the complete subjects by then, in 2,770 trials (so not each three times).
"""

from __future__ import annotations

from phosphene.errors import InputError

__all__ = [
    "GRIDS",
    "HELD_BACK",
    "N_SHARED",
    "N_TRIALS",
    "PROTOCOLS",
    "REPETITIONS",
    "SCALE",
    "SESSIONS",
    "TEST_PICTURES",
    "TRIALS_PER_SESSION",
    "VOXELS",
    "check_voxels",
    "stimulus_name",
]

PROTOCOLS = ("1000", "982")
SCALE = 300  # stored integers are percent signal change times this
TRIALS_PER_SESSION, N_TRIALS, N_SHARED, REPETITIONS = 750, 30000, 1000, 3
HELD_BACK = 3  # sessions of every subject that the protocol 982 knows nothing of
SESSIONS = dict(zip("12345678", (40, 40, 32, 30, 40, 32, 40, 30), strict=True))
TEST_PICTURES = {"1000": 1000, "982": 982}  # of the complete subjects 1, 2, 5 and 7
# Voxels of nsdgeneral above zero, and the grid of func1pt8mm.
VOXELS = dict(
    zip("12345678", (15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386), strict=True)
)
GRIDS = {
    "1": (81, 104, 83), "2": (82, 106, 84), "3": (81, 106, 82), "4": (85, 99, 80),
    "5": (79, 97, 78), "6": (85, 113, 83), "7": (78, 95, 76), "8": (80, 103, 78),
}  # fmt: skip


def stimulus_name(nsd_id: int) -> str:
    """Return the name of a picture by its place in the stimulus brick, counted from 0.

    Examples
    --------
    >>> stimulus_name(2950)
    'nsd-02950'
    """
    return f"nsd-{nsd_id:05d}"


def check_voxels(subject: str, n_voxels: int, grid: tuple[int, ...], source: str) -> None:
    """Refuse another number of voxels than nsdgeneral has on the official grid.

    Raises
    ------
    InputError
        Where the grid is that of the subject and the count is not; the usual reason is a mask
        taken as "other than zero" or "other than -1".
    """
    number = subject.lstrip("0")
    if GRIDS.get(number) == tuple(grid) and n_voxels != VOXELS[number]:
        raise InputError(
            f"{source} has {n_voxels} voxels of subject {subject}",
            expected=f"{VOXELS[number]}, those of nsdgeneral above zero",
            remedy="copy nsdgeneral.nii.gz again, or name another region on purpose with --roi",
        )
