"""Virtual fMRI subjects who watch moving scenes: continuous BOLD whose causes are known."""

from phosphene.data.virtual.movies.experiment import SimulatedRun, simulate_run
from phosphene.data.virtual.movies.motion_area import MOVIE_AREA_NAMES
from phosphene.data.virtual.movies.motion_energy import motion_channels
from phosphene.data.virtual.movies.subject import MOVIE_VERSION, MovieSubject

__all__ = [
    "MOVIE_AREA_NAMES",
    "MOVIE_VERSION",
    "MovieSubject",
    "SimulatedRun",
    "motion_channels",
    "simulate_run",
]
