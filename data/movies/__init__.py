"""Runs of continuous brain activity under a movie, and the movies themselves."""

from phosphene.data.movies.averaging import average_runs
from phosphene.data.movies.dataset import Movie, MovieDataset
from phosphene.data.movies.frames import MovieFile, open_movie, write_movie
from phosphene.data.movies.run import MovieClips, MovieRun, scene_groups

__all__ = [
    "Movie",
    "MovieClips",
    "MovieDataset",
    "MovieFile",
    "MovieRun",
    "average_runs",
    "open_movie",
    "scene_groups",
    "write_movie",
]
