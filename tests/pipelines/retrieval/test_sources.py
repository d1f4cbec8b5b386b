"""Collections in every form, and what is refused of each."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phosphene.errors import InputError, PhospheneError
from phosphene.pipelines.retrieval.found_pictures import found_pictures
from phosphene.pipelines.retrieval.picture_folder import PictureFolder
from phosphene.pipelines.retrieval.picture_shards import PictureShards
from phosphene.pipelines.retrieval.ready_embeddings import ReadyEmbeddings
from phosphene.pipelines.retrieval.sources import open_source

Array = np.ndarray[Any, Any]
TarOf = Callable[..., Path]
PngOf = Callable[[Array], bytes]
WriteReady = Callable[..., Path]


def test_a_folder_has_names_captions_and_pictures(
    picture_folder: Path, noise_pictures: Array
) -> None:
    source = open_source(picture_folder)
    assert isinstance(source, PictureFolder)
    assert len(source) == len(noise_pictures)
    assert source.item(3).id == "p003"
    assert source.item(3).caption == "a red cube"
    np.testing.assert_array_equal(source.read(5), noise_pictures[5])


def test_shards_give_what_the_folder_gives(shards: Path, noise_pictures: Array) -> None:
    source = open_source(shards)
    assert isinstance(source, PictureShards)
    for row in range(len(noise_pictures)):
        np.testing.assert_array_equal(source.read(row), noise_pictures[row])
        item = source.item(row)
        assert item.id == f"p{row:03d}"
        found = found_pictures([item.path])[0]
        assert found is not None
        np.testing.assert_array_equal(found, noise_pictures[row])
    captions = [source.item(row).caption for row in (2, 3, 4)]
    assert captions == ["", "a red cube", "a cat"]


def test_samples_are_those_of_webdataset(shards: Path) -> None:
    import webdataset

    files = sorted(str(path) for path in shards.glob("*.tar"))
    keys = [one["__key__"] for one in webdataset.WebDataset(files, shardshuffle=False)]
    source = PictureShards(str(shards))
    assert [source.item(row).id for row in range(len(source))] == keys


@pytest.mark.parametrize("pattern", ["{00000..00001}.tar", "*.tar", "00000.tar"])
def test_shards_are_named_by_patterns(shards: Path, pattern: str) -> None:
    assert len(open_source(shards / pattern)) == (20 if pattern == "00000.tar" else 40)


def test_keys_that_repeat_between_shards_get_the_name_of_theirs(
    tmp_path: Path, tar_of: TarOf, png_of: PngOf, noise_pictures: Array
) -> None:
    for number in range(2):
        tar_of(tmp_path / f"s{number}.tar", {"0.png": png_of(noise_pictures[number])})
    source = PictureShards(str(tmp_path))
    assert [source.item(row).id for row in range(2)] == ["s0/0", "s1/0"]


@pytest.mark.parametrize("name", ["../../etc/x.png", "/etc/x.png", "a/../../x.png", "..\\x.png"])
def test_members_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, tar_of: TarOf, png_of: PngOf, noise_pictures: Array, name: str
) -> None:
    path = tar_of(tmp_path / "x.tar", {"ok.png": png_of(noise_pictures[0]), name: b"x"})
    with pytest.raises(InputError, match="leads out of its folder"):
        open_source(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_shard_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(info)
    with pytest.raises(InputError, match="leads out of its folder"):
        open_source(tmp_path / "x.tar")


def test_members_of_other_kinds_are_never_decoded(
    tmp_path: Path, tar_of: TarOf, png_of: PngOf, noise_pictures: Array
) -> None:
    """A pickle whose loading would raise stands beside the picture."""
    members = {"a.png": png_of(noise_pictures[0]), "a.pkl": b"cos\nsystem\n(S'false'\ntR.",
               "a.pyd": b"cos\nsystem\n(S'false'\ntR.", "b.npy": b"x"}  # fmt: skip
    source = open_source(tar_of(tmp_path / "x.tar", members))
    assert len(source) == 1


@pytest.mark.parametrize("cut", [300, 600, 1024, 1500, 2048])
def test_a_shard_that_is_cut_off_is_refused(
    tmp_path: Path, tar_of: TarOf, png_of: PngOf, noise_pictures: Array, cut: int
) -> None:
    members = {f"{row}.png": png_of(noise_pictures[row]) for row in range(3)}
    path = tar_of(tmp_path / "x.tar", members)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError):
        open_source(path)


def test_a_compressed_shard_is_refused(tmp_path: Path, shards: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(zlib.compress((shards / "00000.tar").read_bytes()))
    with pytest.raises(InputError, match="uncompressed tar"):
        open_source(path)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=2000))
def test_random_bytes_are_an_input_error_or_no_pictures(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_source(path)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10239), st.integers(0, 255))
def test_a_changed_byte_of_a_shard_never_surprises(
    shards: Path, tmp_path: Path, place: int, value: int
) -> None:
    content = bytearray((shards / "00000.tar").read_bytes())
    content[place] = value
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    try:
        source = open_source(path)
        for row in range(min(3, len(source))):
            source.item(row)
            source.read(row)  # type: ignore[union-attr]
    except PhospheneError:
        pass


@pytest.mark.parametrize("kind", ["folder", "shard"])
def test_a_picture_bomb_is_one_message(
    tmp_path: Path, tar_of: TarOf, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    buffer = io.BytesIO()
    Image.new("L", (100, 100)).save(buffer, format="PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    if kind == "folder":
        source = open_source(tmp_path)
    else:
        source = open_source(tar_of(tmp_path / "x.tar", {"bomb.png": buffer.getvalue()}))
    with pytest.raises(InputError, match="far too large"):
        source.read(0)  # type: ignore[union-attr]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        open_source(tmp_path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no pictures at"):
        open_source(tmp_path / "nothing")
    with pytest.raises(InputError, match="there is no shard"):
        open_source(tmp_path / "{0..1}.tar")


def test_two_pictures_of_one_name_are_refused(
    tmp_path: Path, png_of: PngOf, noise_pictures: Array
) -> None:
    for ending in (".png", ".jpg"):
        (tmp_path / f"a{ending}").write_bytes(png_of(noise_pictures[0]))
    with pytest.raises(InputError, match="several pictures named 'a'"):
        open_source(tmp_path)


def test_ready_embeddings_are_read_in_the_order_of_numbers(
    tmp_path: Path, write_ready: WriteReady
) -> None:
    """img_emb_10 comes after img_emb_2: sorting by letters would mix up rows and metadata."""
    values = np.arange(260 * 3, dtype=np.float16).reshape(260, 3)
    source = open_source(write_ready(tmp_path, values, per_file=20))
    assert isinstance(source, ReadyEmbeddings)
    assert (len(source), source.dimension) == (260, 3)
    vectors, table = source.read(35, 255)
    np.testing.assert_array_equal(vectors, values[35:255])
    assert table["id"].tolist() == [f"{row:09d}" for row in range(35, 255)]
    assert table["path"].iloc[0] == "http://x/000000035.jpg"
    assert table["caption"].iloc[-1] == "000000254"


def test_parquet_with_an_embedding_column(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    table = pd.DataFrame({"id": list("abcdefghi"), "embedding": list(values), "text": "words"})
    table.to_parquet(tmp_path / "x.parquet")
    for path in (tmp_path, tmp_path / "x.parquet"):
        source = open_source(path)
        assert isinstance(source, ReadyEmbeddings)
        vectors, found = source.read(2, 9)
        np.testing.assert_array_equal(vectors, values[2:])
        assert found["id"].tolist() == list("cdefghi")
        assert set(found["caption"]) == {"words"}


def test_ready_embeddings_without_any_names_are_numbered(tmp_path: Path) -> None:
    pd.DataFrame({"embedding": [[1.0, 2.0], [3.0, 4.0]]}).to_parquet(tmp_path / "x.parquet")
    source = open_source(tmp_path)
    assert isinstance(source, ReadyEmbeddings)
    assert source.read(0, 2)[1]["id"].tolist() == ["000000000", "000000001"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("rows", "has 24 rows for 25 embeddings"),
        ("alone", "number 1 is alone"),
        ("width", "5 and 6 numbers"),
        ("twice", "identifiers again, '000000000'"),
        ("pickled", "pickled Python objects"),
        ("whole", "holds int64"),
    ],
)
def test_ready_embeddings_that_do_not_fit_are_refused(
    tmp_path: Path, write_ready: WriteReady, damage: str, words: str
) -> None:
    values = np.ones((50, 5), dtype=np.float32)
    write_ready(tmp_path, values)
    table = tmp_path / "metadata" / "metadata_1.parquet"
    array = tmp_path / "img_emb" / "img_emb_1.npy"
    if damage == "rows":
        pd.read_parquet(table).iloc[:24].to_parquet(table)
    elif damage == "alone":
        table.unlink()
    elif damage == "width":
        np.save(array, np.ones((25, 6), dtype=np.float32))
    elif damage == "twice":
        pd.read_parquet(tmp_path / "metadata" / "metadata_0.parquet").to_parquet(table)
    elif damage == "pickled":
        np.save(array, np.array([{"a": 1}] * 25, dtype=object), allow_pickle=True)
    else:
        np.save(array, np.ones((25, 5), dtype=np.int64))
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)


def test_embeddings_that_are_not_finite_are_refused_with_their_row(
    tmp_path: Path, write_ready: WriteReady
) -> None:
    values = np.ones((50, 5), dtype=np.float32)
    values[31, 2] = np.inf
    source = open_source(write_ready(tmp_path, values))
    assert isinstance(source, ReadyEmbeddings)
    with pytest.raises(InputError, match=r"row 6 of .*img_emb_1\.npy is not finite"):
        source.read(0, 50)
