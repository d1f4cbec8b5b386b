"""Reading the voxels of a mask from a compressed series: one pass against volume by volume.

Work: decompressing the file once is the floor, since a gzip can only be read from its start.
Slicing one volume after the other through an array proxy starts again for each of n volumes,
some n / 2 passes. Loading the whole series takes one pass and keeps all of it in memory.

    python benchmarks/nifti_reading.py [--volumes 48] [--repeats 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from phosphene.data.readers.nifti import open_volumes

Array = np.ndarray[Any, Any]
SHAPE = (64, 64, 36)


def write_series(folder: Path, n_volumes: int) -> tuple[Path, Array]:
    """Write int16 betas with a scale factor, and return the file and a mask of a third."""
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((*SHAPE, n_volumes)) * 300).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_slope_inter(1 / 300, 0)
    nibabel.save(image, folder / "betas.nii.gz")
    return folder / "betas.nii.gz", rng.random(SHAPE) < 1 / 3


def decompress(path: Path) -> int:
    """Decompress the whole file and drop the result: the floor."""
    stream, length = zlib.decompressobj(wbits=31), 0
    with path.open("rb") as handle:
        while chunk := handle.read(2**20):
            length += len(stream.decompress(chunk))
    return length


def one_pass(path: Path, mask: Array) -> Array:
    return open_volumes(path).read(np.flatnonzero(mask))


def volume_by_volume(path: Path, mask: Array) -> Array:
    stored = nibabel.load(path).dataobj
    rows = [np.asarray(stored[..., volume])[mask] for volume in range(stored.shape[3])]
    return np.stack(rows).astype(np.float32)


def whole(path: Path, mask: Array) -> Array:
    return nibabel.load(path).get_fdata(dtype=np.float32)[mask].T


def best_time(function: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, mask = write_series(Path(folder), options.volumes)
        reference = volume_by_volume(path, mask)
        if not np.array_equal(one_pass(path, mask), reference):
            raise SystemExit("the two ways read different values")
        n_bytes = decompress(path)
        floor = best_time(lambda: decompress(path), options.repeats)
        ours = best_time(lambda: one_pass(path, mask), options.repeats)
        loaded = best_time(lambda: whole(path, mask), options.repeats)
        sliced = best_time(lambda: volume_by_volume(path, mask), 1)
    megabytes = n_bytes / 1e6
    print(f"{options.volumes} volumes of {SHAPE}, int16, {mask.sum()} voxels, {megabytes:.0f} MB")
    print(f"floor, one decompression      {floor:8.3f} s  {megabytes / floor:6.0f} MB/s")
    print(f"phosphene, one pass           {ours:8.3f} s  {ours / floor:6.2f} x floor")
    print(f"nibabel, whole file in memory {loaded:8.3f} s  {loaded / floor:6.2f} x floor")
    print(f"nibabel, volume by volume     {sliced:8.3f} s  {sliced / floor:6.2f} x floor")
    print(f"ratio volume by volume / one pass: {sliced / ours:.1f}")


if __name__ == "__main__":
    main()
