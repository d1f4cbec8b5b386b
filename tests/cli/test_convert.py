"""`phosphene convert`: from a published file to a model and back; facts that are listed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from phosphene.checkpoints.converters import FAMILIES
from phosphene.checkpoints.converters.published import known_weights
from phosphene.checkpoints.converters.unconvertible import UNCONVERTIBLE

Cli = Callable[..., Any]


def weights_of_ubp() -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (8, 750), "1.f.1.weight": (8, 8), "2.weight": (8,)}
    shapes |= {name.replace("weight", "bias"): (8,) for name in shapes}
    made = {f"brain.model.{n}": torch.randn(s, generator=stream) for n, s in shapes.items()}
    return {**made, "brain.logit_scale": torch.tensor(1.0)}


def test_a_file_becomes_a_model_that_decodes(cli: Cli, tmp_path: Path) -> None:
    torch.save({"state_dict": weights_of_ubp()}, tmp_path / "last.ckpt")
    done = cli(
        "convert", tmp_path / "last.ckpt", "--from", "auto", "--subject", "01",
        "--output", tmp_path / "model",
    ).succeeds()  # fmt: skip
    lines = done.out.splitlines()
    assert lines[0].startswith("found: ubp")
    assert lines[-1] == f"model: {tmp_path / 'model'}"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((2, 3, 250)))
    # No generator takes embeddings of RN50: the message says so, and nothing is written.
    refused = cli(
        "reconstruct", "--subject", "01", "--input", tmp_path / "x.npy",
        "--model", tmp_path / "model", "--output", tmp_path / "out",
    )  # fmt: skip
    refused.refuses(2, "no published generator", "retrieval:INDEX")
    assert not (tmp_path / "out").exists()


def test_embeddings_made_elsewhere_are_searched(cli: Cli, tmp_path: Path) -> None:
    torch.save({"state_dict": weights_of_ubp()}, tmp_path / "last.ckpt")
    model = tmp_path / "model"
    cli("convert", tmp_path / "last.ckpt", "--subject", "01", "--output", model).succeeds()
    stream = np.random.default_rng(0)
    rows = {"id": [f"p{n}" for n in range(5)], "embedding": list(stream.standard_normal((5, 8)))}
    pd.DataFrame(rows).to_parquet(tmp_path / "pictures.parquet")
    cli(
        "index", "build", "--pictures", tmp_path / "pictures.parquet",
        "--target", f"local-dir:{model / 'target'}", "--output", tmp_path / "index",
    ).succeeds()  # fmt: skip
    np.save(tmp_path / "x.npy", stream.standard_normal((2, 3, 250)))
    cli(
        "retrieve", "--subject", "01", "--input", tmp_path / "x.npy", "--model", model,
        "--index", tmp_path / "index", "--top", "2", "--output", tmp_path / "out",
    ).succeeds()  # fmt: skip
    found = pd.read_csv(tmp_path / "out" / "results.tsv", sep="\t")
    assert len(found) == 4


def test_mistakes_are_one_message(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": weights_of_ubp()}, path)
    model = tmp_path / "model"
    cli("convert", path, "--subject", "01").refuses(2, "--output")
    cli("convert", path, "--output", model).refuses(2, "--subject")
    cli("convert", path, "--from", "ubq", "--subject", "01", "--output", model).refuses(
        2, "did you mean 'ubp'?"
    )
    cli("convert", path, "--from", "umbrae", "--subject", "01", "--output", model).refuses(
        3, "not convertible, because"
    )
    cli("convert", path, "--to", "mindeye2", "--subject", "01", "--output", model).refuses(
        2, "--to"
    )
    cli("convert", path, "--subject", "01", "--set", "n_times", "--output", model).refuses(
        2, "NAME=VALUE"
    )
    assert not model.exists()


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_a_hostile_file_does_nothing(cli: Cli, tmp_path: Path) -> None:
    torch.save({"state_dict": weights_of_ubp(), "x": Evil(tmp_path / "mark")}, tmp_path / "e.pth")
    cli("convert", tmp_path / "e.pth", "--subject", "01", "--output", tmp_path / "m").refuses(
        3, "posix.system", "executed"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.pth"]


def test_published_weights_are_listed_and_shown(cli: Cli) -> None:
    lines = cli("models list").succeeds().out.splitlines()
    rows = {line.split()[0]: line for line in lines}
    for name, entry in known_weights().items():
        assert entry.address in rows[name]
        assert f"licence: {entry.licence}" in rows[name]
        assert entry.converts in rows[name]
    shown = cli("models show", "mindeye2-subj01").succeeds().out
    for fact in ("pscotti/mindeyev2", "8900 MB", "PixCorr .374", "unconfirmed"):
        assert fact in shown


@pytest.mark.parametrize("name", sorted(known_weights()))
def test_facts_fit_what_converts(name: str) -> None:
    entry = known_weights()[name]
    if entry.converts.startswith("yes"):
        assert entry.family in FAMILIES.names()
    else:
        assert entry.converts.startswith("no: ")
        assert entry.family in UNCONVERTIBLE


def test_every_family_that_converts_is_listed() -> None:
    assert {one.family for one in known_weights().values()} >= set(FAMILIES.names())
