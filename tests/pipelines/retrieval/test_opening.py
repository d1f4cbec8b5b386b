"""Collections of a server from the command line, and whose projection they are searched with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from phosphene import Index, Reconstructor
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.opening import lend_projector, open_index, upload_index

Cli = Callable[..., Any]


def test_a_collection_answers_as_the_folder_it_was_uploaded_from(
    cli: Cli, pixel_index: Index, picture_folder: Path, tmp_path: Path
) -> None:
    name = f"qdrant:{tmp_path / 'store'}/pictures"
    done = cli("index upload", pixel_index.folder, "--to", name).succeeds()
    assert done.out.splitlines()[-2:] == ["40 pictures uploaded", f"index: {name}"]
    tables = []
    for number, index in enumerate((pixel_index.folder, name)):
        output = tmp_path / f"found-{number}"
        cli(
            "retrieve", "--image", picture_folder, "--index", index, "--top", 3, "--output", output,
            "--device", "cpu",
        ).succeeds()  # fmt: skip
        tables.append(pd.read_csv(output / "results.tsv", sep="\t"))
    pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-4)
    assert "Qdrant, cosine" in (tmp_path / "found-1" / "report.html").read_text()
    cli(
        "retrieve", "--image", picture_folder, "--index", name, "--output", tmp_path / "o",
        "--diversity", 0.5,
    ).refuses(2, "for a collection of a server")  # fmt: skip
    cli("index upload", pixel_index.folder, "--to", name).refuses(2, "exists already")
    cli("index upload", pixel_index.folder).refuses(2, "--to is not given")


@pytest.mark.parametrize(
    "name", ["pictures", "qdrant:pictures", "qdrant:http://pictures", "qdrant:http://a:6333/"]
)
def test_a_name_without_server_or_collection_is_refused(pixel_index: Index, name: str) -> None:
    with pytest.raises(UsageError, match="LOCATION/COLLECTION"):
        upload_index(pixel_index.folder, name)


def test_a_projection_is_lent_by_the_model_it_is_of(
    cli: Cli, decoder: Path, scenes: Path, scan: Path, tmp_path: Path
) -> None:
    folder, name = tmp_path / "i", f"qdrant:{tmp_path / 'store'}/scenes"
    model = f"local-dir:{decoder}"
    cli(
        "index build", "--pictures", scenes, "--target", model, "--output", folder,
        "--device", "cpu",
    ).succeeds()  # fmt: skip
    cli("index upload", folder, "--to", name).succeeds()
    tables = []
    for number, index in enumerate((folder, name)):
        output = tmp_path / f"found-{number}"
        cli(
            "retrieve", "--subject", "01", "--input", scan, "--index", index, "--top", 3,
            "--output", output, "--device", "cpu",
        ).succeeds()  # fmt: skip
        tables.append(pd.read_csv(output / "results.tsv", sep="\t"))
    pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-3)
    parts = Reconstructor.from_pretrained(decoder, device="cpu").parts
    assert parts.retrieval is not None
    parts.retrieval.weights = parts.retrieval.weights * 2
    remote = open_index(name)
    with pytest.raises(InputError, match=r"this model has the search projection"):
        lend_projector(remote, parts.retrieval, "this model")
    with pytest.raises(InputError, match=r"no search projection"):
        lend_projector(remote, None, "this model")
