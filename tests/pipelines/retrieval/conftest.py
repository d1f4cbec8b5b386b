"""Pictures in every form that can be indexed, and a plain index of them.

The target is pixels: it needs no network, and what is nearest can be computed by hand.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The linear algebra inside faiss waits in a busy loop when several threads share few cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.pipelines.retrieval.building import IndexConfig, build_index
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.storage import save_array

Array = np.ndarray[Any, Any]
TARGET, SIDE, N = "pixels:6x3", 6, 40
SIZE = 3 * SIDE**2


@pytest.fixture(scope="session")
def noise_pictures() -> Array:
    return np.random.default_rng(8).integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)


def png(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory, noise_pictures: Array) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(noise_pictures):
        (root / f"p{number:03d}.png").write_bytes(png(pixels))
    (root / "p003.txt").write_text("a  red\ncube", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, noise_pictures: Array) -> Path:
    root = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        members = {}
        for number in range(shard * 20, shard * 20 + 20):
            members[f"p{number:03d}.png"] = png(noise_pictures[number])
            if number == 3:
                members["p003.txt"] = b"a red cube"
            if number == 4:
                members["p004.json"] = b'{"caption": "a cat", "width": 6}'
        write_tar(root / f"{shard:05d}.tar", members)
    return root


@pytest.fixture(scope="session")
def pixel_index(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> Index:
    return make_index(tmp_path_factory.mktemp("index") / "index", picture_folder)


def make_index(output: Path, pictures: Path | str, **more: Any) -> Index:
    settings = {"target": TARGET, "part_size": 7, "device": "cpu"} | more
    return build_index(IndexConfig(pictures=str(pictures), output=str(output), **settings))


@pytest.fixture(scope="session")
def index_of() -> Callable[..., Index]:
    """Build an index: ``index_of(output, pictures, target=..., kind=...)``."""
    return make_index


@pytest.fixture(scope="session")
def write_ready() -> Callable[..., Path]:
    """Write embeddings as clip-retrieval does: ``write_ready(folder, values, per_file=25)``."""
    return write_embeddings


@pytest.fixture(scope="session")
def tar_of() -> Callable[..., Path]:
    """Write a tar file: ``tar_of(path, {member: content})``."""
    return write_tar


@pytest.fixture(scope="session")
def png_of() -> Callable[..., bytes]:
    """Return a picture (H, W, 3) as the content of a PNG file."""
    return png


def write_embeddings(root: Path, values: Array, *, per_file: int = 25) -> Path:
    """Write clip-retrieval's layout; files are numbered without leading zeros."""
    import pandas as pd

    (root / "img_emb").mkdir(parents=True)
    (root / "metadata").mkdir()
    for number, start in enumerate(range(0, len(values), per_file)):
        part = values[start : start + per_file]
        np.save(root / "img_emb" / f"img_emb_{number}.npy", part)
        keys = [f"{row:09d}" for row in range(start, start + len(part))]
        pd.DataFrame(
            {"key": keys, "url": [f"http://x/{key}.jpg" for key in keys], "caption": keys}
        ).to_parquet(root / "metadata" / f"metadata_{number}.parquet")
    return root


@pytest.fixture(scope="session")
def spread_vectors() -> Array:
    """Vectors (1200, 16) around 120 centres, as embeddings cluster."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((120, 16))
    values = centres[rng.integers(0, 120, 1200)] + 0.4 * rng.standard_normal((1200, 16))
    return values.astype(np.float32)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, tiny_pictures: Pictures) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    for number, pixels in enumerate(tiny_pictures):
        Image.fromarray(pixels).save(root / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def decoder(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("model") / "decoder"
    settings = {
        "token_rank": 10, "latent_rank": 10, "prior": "identity", "strengths": (1.0,),
        "prior_training": EngineConfig(epochs=1),
    }  # fmt: skip
    train_decoder(
        DecoderConfig.model_validate(
            {
                "dataset": str(tiny_dataset), "output": str(folder),
                "target": str(tiny_parts_folder / "target"),
                "generator": str(tiny_parts_folder / "generator"), **settings,
            }
        )
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def scan(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of subject 01 as files."""
    root = tmp_path_factory.mktemp("scan")
    recording = CanonicalDataset.open(tiny_dataset).recording("01")
    save_array(root / "scan.npy", np.asarray(recording.data))
    recording.trials[["stimulus_id"]].to_csv(root / "scan.tsv", sep="\t", index=False)
    return root / "scan.npy"
