"""What reading costs: memory, passes over a gzip, imports; and a real series."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn.masking import apply_mask

from phosphene.data.readers import nifti, read_recording

SCRIPT = """
import sys
from pathlib import Path
from phosphene.data.readers import read_recording
recording = read_recording(sys.argv[1], subject="01", roi=sys.argv[2] or None)
# Not getrusage: its maximum survives exec and so would include the process of the tests.
status = Path("/proc/self/status").read_text().split()
peak = int(status[status.index("VmHWM:") + 1]) * 1024
print(peak, recording.data.shape[0], recording.data.shape[1], float(recording.data[-1, -1]),
      sum(name.split(".")[0] in ("torch", "nilearn", "scipy.signal") for name in sys.modules))
"""


def measure(path: Path, roi: Path | str) -> list[float]:
    """Return peak memory (bytes), n_trials, n_columns, the last value, unwanted modules."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(roi)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return [float(word) for word in done.stdout.split()]


@pytest.mark.slow
def test_sparse_four_gigabytes(tmp_path: Path) -> None:
    shape, n_volumes = (128, 128, 64), 1024
    voxels = np.zeros(shape, np.uint8)
    voxels[:, :56, 31] = 1  # 7,168 voxels that lie together, so that the file stays sparse
    voxels[5, 5, [0, 63]] = 1  # and the two ends of the volume, so that all of it is read
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "mask.nii.gz")
    header = nibabel.Nifti1Header()
    header.set_data_shape((*shape, n_volumes))
    header.set_data_dtype(np.float32)
    header.set_sform(np.eye(4), code=1)
    header.set_data_offset(352)
    flat = np.flatnonzero(voxels.ravel(order="F"))
    inner, ends = flat[1:-1], flat[[0, -1]]
    size = int(np.prod(shape)) * 4
    with (tmp_path / "betas.nii").open("wb") as handle:
        handle.write(header.binaryblock)
        handle.truncate(352 + size * n_volumes)
        for volume in range(n_volumes):
            start = 352 + volume * size
            handle.seek(start + int(inner[0]) * 4)
            handle.write(np.full(inner.size, volume + 1, np.float32).tobytes())
            for end in ends:
                handle.seek(start + int(end) * 4)
                handle.write(np.float32(volume + 1).tobytes())
    path = tmp_path / "betas.nii"
    assert path.stat().st_size == 352 + 2**32
    assert path.stat().st_blocks * 512 < 2**28
    peak, n_trials, n_columns, last, _ = measure(path, tmp_path / "mask.nii.gz")
    assert (n_trials, n_columns, last) == (1024, 7170, 1024)
    assert peak < 400e6


def test_memory_map_does_not_grow(tmp_path: Path) -> None:
    peaks = []
    for n_trials in (300, 30_000):  # 2.4 MB and 240 MB
        path = tmp_path / f"{n_trials}.npy"
        out = np.lib.format.open_memmap(path, mode="w+", dtype="f4", shape=(n_trials, 2000))
        out[:] = 1
        del out
        peaks.append(measure(path, "")[0])
        path.unlink()
    assert peaks[1] - peaks[0] < 80e6


def test_no_torch(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((7, 8, 5), np.uint8), np.eye(4)), tmp_path / "m.nii")
    nibabel.save(
        nibabel.Nifti1Image(np.ones((7, 8, 5, 9), np.float32), np.eye(4)), tmp_path / "b.nii"
    )
    assert measure(tmp_path / "b.nii", tmp_path / "m.nii")[-1] == 0


def test_a_gzip_is_decompressed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    betas = rng.standard_normal((17, 19, 13, 40)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(betas, np.eye(4)), tmp_path / "b.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones((17, 19, 13), np.uint8), np.eye(4)),
                 tmp_path / "m.nii")  # fmt: skip
    consumed: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size) or b""
            consumed.append(len(content))
            return content

    monkeypatch.setattr(
        nifti.gzip, "open", lambda path, mode: gzip.GzipFile(fileobj=Counting(path, mode))
    )
    read_recording(tmp_path / "b.nii.gz", subject="01", roi=str(tmp_path / "m.nii"))
    size = (tmp_path / "b.nii.gz").stat().st_size
    assert size > 500_000
    # Every compressed byte once, and one buffer more for the header.
    assert size <= sum(consumed) <= size + 2 * io.DEFAULT_BUFFER_SIZE


def test_real_series_equals_nilearn(haxby: Path) -> None:
    mask = next(haxby.glob("derivatives/masks/sub-01/func/*_mask.nii.gz"))
    for run in ("01", "07"):
        path = haxby / f"sub-01/func/sub-01_task-objectviewing_run-{run}_bold.nii.gz"
        recording = read_recording(path, subject="01", roi=str(mask))
        assert recording.data.shape == (121, 530)
        np.testing.assert_array_equal(recording.data, apply_mask(str(path), str(mask)))
