"""Frames of movies: one constant rate, read in order, written so that browsers play them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.errors import InputError
from phosphene.storage import atomic_path

__all__ = ["MOVIE_SUFFIXES", "MovieFile", "open_movie", "write_movie"]

MOVIE_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
KIND = "a movie that FFmpeg can decode (.mp4, .mov, .mkv, .webm, .avi)"
CONVERT = "convert it: ffmpeg -i MOVIE -c:v libx264 OUT.mp4, or copy it again"
QUALITY = "12"  # of VP9: 0 is best
STEADY = 0.25  # of a frame: how far a frame may be from its place at a constant rate


@dataclass(frozen=True)
class MovieFile:
    """A movie whose frames come at a constant rate.

    Attributes
    ----------
    path : Path
    fps : float
    n_frames : int
    height, width : int
    """

    path: Path
    fps: float
    n_frames: int
    height: int
    width: int

    @property
    def seconds(self) -> float:
        """Length of the movie."""
        return self.n_frames / self.fps

    def read(self, numbers: Sequence[int] | np.ndarray[Any, Any], size: int) -> Pictures:
        """Return frames (n, size, size, 3) uint8, the middle square of each.

        The file is decoded once, from its start to the last frame that is asked for; memory
        holds what is returned.

        Parameters
        ----------
        numbers : sequence of n int
            In any order, with repetitions.
        size : int
            Side in pixels.

        Raises
        ------
        InputError
            If a frame lies outside the movie, or one cannot be decoded.
        """
        return next(self.read_clips([numbers], size))

    def read_clips(
        self, clips: Sequence[Sequence[int] | np.ndarray[Any, Any]], size: int
    ) -> Iterator[Pictures]:
        """Yield the frames (n, size, size, 3) of one clip after the other, in one pass.

        Memory holds the clips that have begun and are not complete, so in the order of time it
        does not grow with the movie.

        Parameters
        ----------
        clips : sequence of sequence of int
            Numbers of the frames of each clip.
        size : int
        """
        wanted = [np.asarray(numbers, dtype=np.int64) for numbers in clips]
        for numbers in wanted:
            if numbers.size and (numbers.min() < 0 or numbers.max() >= self.n_frames):
                raise InputError(
                    f"frame {int(numbers.max())} of {self.path}, which has {self.n_frames}",
                    expected="frames of the movie",
                    remedy="check that run and movie belong together and have one length",
                )
        order = sorted(range(len(wanted)), key=lambda k: int(wanted[k].min(initial=0)))
        opened: dict[int, Pictures] = {}
        decoder, number, frame = _decode(self.path), -1, cast(Any, None)
        pixels: Pictures | None = None
        waiting, done = list(order), 0
        while done < len(wanted):
            last = int(wanted[done].max(initial=-1))
            while number < last:
                frame = next(decoder, None)
                if frame is None:
                    raise InputError(
                        f"{self.path} ends before frame {last}",
                        expected=f"{self.n_frames} frames, as it had when it was opened",
                        remedy="copy the movie again from its source",
                    )
                number, pixels = number + 1, None
                while waiting and int(wanted[waiting[0]].min(initial=0)) <= number:
                    key = waiting.pop(0)
                    opened[key] = np.empty((len(wanted[key]), size, size, 3), dtype=np.uint8)
                for key, out in opened.items():
                    places = np.flatnonzero(wanted[key] == number)
                    if places.size:
                        if pixels is None:
                            pixels = fit_pictures(_pixels(frame)[None], size=size, channels=3)[0]
                        out[places] = pixels
            empty: Pictures = np.empty((0, size, size, 3), dtype=np.uint8)
            yield opened.pop(done, empty)
            done += 1


def open_movie(path: str | os.PathLike[str]) -> MovieFile:
    """Look at every time stamp of a movie, without decoding its frames.

    Raises
    ------
    InputError
        If the file is missing, has no video, has a codec that cannot be decoded, or its frames do
        not come at a constant rate.
    """
    import av

    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no movie {file}", expected=KIND, remedy="check the path")
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise InputError(f"{file} has no video", KIND, "name the film, not its sound")
            stream = container.streams.video[0]
            if stream.codec_context is None or stream.codec_context.codec is None:
                raise InputError(f"{file} has an unknown codec", KIND, CONVERT)
            size = stream.codec_context.height, stream.codec_context.width
            base, rate = float(stream.time_base or 0), stream.average_rate
            stamps = [
                float(packet.pts) for packet in container.demux(stream) if packet.pts is not None
            ]
    except InputError:
        raise
    except Exception as error:  # FFmpeg has an error of its own for every kind of damage
        raise _unreadable(file, error) from error
    if not stamps or not rate:
        raise InputError(f"{file} has no frames", KIND, CONVERT)
    times = np.sort(np.array(stamps)) * base
    _check_steady(file, times - times[0], float(rate))
    movie = MovieFile(file, float(rate), len(times), *size)
    next(_decode(file))  # a codec that is not there shows with the first frame
    return movie


def _check_steady(path: Path, times: np.ndarray[Any, Any], fps: float) -> None:
    apart = np.abs(times - np.arange(len(times)) / fps) * fps
    if apart.max() > STEADY:
        steps = np.diff(times)
        raise InputError(
            f"{path} has a variable frame rate: frames {steps.min():.4g} to {steps.max():.4g} s "
            f"apart, frame {int(apart.argmax())} {apart.max():.2g} frames from its place",
            expected="one constant rate, so that the time of a frame is known by its number",
            remedy="convert it: ffmpeg -i MOVIE -vsync cfr -r 30 -c:v libx264 OUT.mp4",
        )


def _decode(path: Path) -> Iterator[Any]:
    import av

    try:
        with av.open(str(path)) as container:
            yield from container.decode(container.streams.video[0])
    except GeneratorExit:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be decoded ({error})",
        expected=KIND,
        remedy=CONVERT,
    )


def _pixels(frame: Any) -> Pictures:
    pixels: Pictures = frame.to_ndarray(format="rgb24")
    return pixels


def write_movie(path: str | os.PathLike[str], frames: Iterable[Pictures], fps: float) -> None:
    """Write frames (H, W, 3) uint8 as VP9 in MP4, atomically, one at a time.

    Browsers play this form without a licensed decoder. It is compressed with loss: keep arrays
    of what is measured.

    Parameters
    ----------
    path : path
        Ends in ``.mp4``.
    frames : iterable of ndarray (H, W, 3)
        At least one; even height and width.
    fps : float
    """
    import av

    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        rate = Fraction(fps).limit_denominator(100_000)
        stream: Any = container.add_stream(
            "libvpx-vp9", rate=rate, options={"crf": QUALITY, "b": "0", "cpu-used": "4"}
        )
        started = False
        for pixels in frames:
            if not started:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt, stream.thread_count, started = "yuv420p", 1, True
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        if not started:
            raise InputError("a movie without frames", expected="at least one frame")
        container.mux(stream.encode())
