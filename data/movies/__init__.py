"""Runs of continuous brain activity under a movie, and the movies themselves."""

from phosphene.data.movies.run import MovieClips, MovieRun, scene_groups

__all__ = ["MovieClips", "MovieRun", "scene_groups"]
