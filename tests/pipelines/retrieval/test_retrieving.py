"""`phosphene index` and `phosphene retrieve` from the command line, with a trained decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from phosphene import Index, Reconstruction, Reconstructor
from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.retrieval import RetrievalGenerator
from phosphene.pipelines.retrieval.key_encoder import projector_hash
from phosphene.storage import read_json

Array = np.ndarray[Any, Any]
Cli = Callable[..., Any]
COLUMNS = ["query", "rank", "score", "id", "path", "caption"]


@pytest.fixture(scope="module")
def index(scenes: Path, decoder: Path, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in the decoder's own search space."""
    folder = tmp_path_factory.mktemp("indexes") / "own"
    done = cli(
        "index build", "--pictures", scenes, "--target", f"local-dir:{decoder}",
        "--output", folder, "--part-size", 16, "--device", "cpu",
    ).succeeds()  # fmt: skip
    assert done.out.splitlines()[-1] == f"index: {folder}"
    return folder


def results(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "results.tsv", sep="\t", dtype={"query": str, "id": str})
    assert table.columns.tolist() == COLUMNS
    return table


def test_a_recording_finds_what_the_decoder_predicts(
    cli: Cli, index: Path, decoder: Path, scan: Path, tmp_path: Path
) -> None:
    done = cli(
        "retrieve", "--subject", "01", "--input", scan, "--trials", scan.with_suffix(".tsv"),
        "--average", "stimulus", "--index", index, "--top", 4, "--output", tmp_path / "out",
        "--device", "cpu",
    ).succeeds()  # fmt: skip
    assert done.out.splitlines()[-1] == f"results: {tmp_path / 'out' / 'results.tsv'}"
    table = results(tmp_path / "out")
    assert len(table) == 40 * 4
    model = Reconstructor.from_pretrained(decoder, device="cpu")
    recording = model.read(scan, subject="01", trials=scan.with_suffix(".tsv"))
    items = recording.average("stimulus_id")
    opened = Index.open(index)
    assert opened.space.projector == projector_hash(model.parts.retrieval)  # type: ignore[arg-type]
    keys = model.search_keys(model.embed(items).main).numpy()
    stored = opened.vectors(np.arange(40))
    cosine = keys / np.linalg.norm(keys, axis=1, keepdims=True) @ stored.T
    first = table[table["rank"] == 1]
    assert first["query"].tolist() == items.trials["stimulus_id"].tolist()
    assert first["id"].astype(int).tolist() == cosine.argmax(axis=1).tolist()
    np.testing.assert_allclose(first["score"], cosine.max(axis=1), atol=1e-3)
    assert (first["id"] == first["query"]).mean() > 0.5  # it was trained on most of them
    assert np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png")).shape[2] == 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="retrieval"' in page
    assert page.count("data:image/png") == 40 * 4
    assert read_json(tmp_path / "out" / "retrieval.json")["n_queries"] == 40


def test_a_reconstruction_finds_its_pictures(index: Path, decoder: Path, scan: Path) -> None:
    model = Reconstructor.from_pretrained(decoder, device="cpu")
    recording = model.read(scan, subject="01").select(np.arange(6))
    result = model.reconstruct(recording, subject="01", num_inference_steps=1)
    found = result.retrieve(index, k=3)
    expected = Index.open(index).search(model.search_keys(model.embed(recording).main), 3)
    np.testing.assert_array_equal(found.rows, expected.rows)
    result.provenance.config["target"] = "0123456789abcdef"
    with pytest.raises(InputError, match=r"0123456789abcdef.*search"):
        result.retrieve(index)


def test_retrieved_pictures_are_a_reconstruction(
    cli: Cli, index: Path, decoder: Path, scan: Path, tiny_pictures: Pictures, tmp_path: Path
) -> None:
    cli(
        "reconstruct", "--subject", "01", "--input", scan, "--model", decoder,
        "--generator", f"retrieval:{index}", "--prior", "none", "--output", tmp_path / "out",
        "--device", "cpu",
    ).succeeds()  # fmt: skip
    result = Reconstruction.load(tmp_path / "out")
    rows = result.retrieve(index, 1).rows[:, 0]
    np.testing.assert_array_equal(result.images[:, 0], tiny_pictures[rows])
    assert result.provenance.config["generator"] == "retrieval"
    assert result.provenance.config["index"] == Index.open(index).file.hash


def test_retrieved_pictures_start_another_generator(
    index: Path, decoder: Path, scan: Path, tiny_pictures: Pictures
) -> None:
    model = Reconstructor.from_pretrained(decoder, device="cpu")
    embedding = model.embed(model.read(scan, subject="01").select(np.arange(4)))
    generator = RetrievalGenerator(Index.open(index), model.parts.target)
    start = generator.init(embedding)
    rows = Index.open(index).search(embedding.main, 1).rows[:, 0]
    np.testing.assert_array_equal((start.permute(0, 2, 3, 1) * 255).numpy(), tiny_pictures[rows])
    random = [torch.Generator().manual_seed(n) for n in range(4)]
    kept = model.generator.generate(embedding, init=start, strength=0, generators=random)
    latents = model.generator.latents
    assert latents is not None
    through = latents.decode(latents.to_latents(start * 2 - 1))
    expected = (through.clamp(0, 1).permute(0, 2, 3, 1) * 255).round().detach().numpy()
    np.testing.assert_allclose(np.asarray(kept), expected, atol=1)


def test_the_generator_refuses_what_is_no_index(decoder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="retrieval without an index"):
        Reconstructor.from_pretrained(decoder, generator="retrieval", device="cpu")
    with pytest.raises(UsageError, match="retrieval without an index"):
        Reconstructor.from_pretrained(decoder, generator=f"retrieval:{tmp_path}", device="cpu")


def test_a_picture_finds_itself(cli: Cli, index: Path, scenes: Path, tmp_path: Path) -> None:
    words = ("--index", index, "--top", 3, "--device", "cpu")
    one = scenes / "007.png"
    cli("retrieve", "--image", one, *words, "--output", tmp_path / "a").succeeds()
    table = results(tmp_path / "a")
    assert table["id"].tolist()[0] == "007"
    assert table["score"].tolist()[0] == pytest.approx(1, abs=1e-3)
    cli(
        "retrieve", "--image", scenes, *words, "--output", tmp_path / "b", "--no-stimuli"
    ).succeeds()
    table = results(tmp_path / "b")
    first = table[table["rank"] == 1]
    assert (first["id"] == first["query"]).all()
    alone = (tmp_path / "b" / "report.html").read_text()
    assert 'alt="query' not in alone


def test_a_text_is_searched_where_texts_have_a_place(
    cli: Cli, index: Path, scenes: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    target = f"open-clip:local-dir:{tiny_parts_folder / 'target'}"
    cli(
        "index build", "--pictures", scenes, "--target", target, "--output", tmp_path / "i",
        "--device", "cpu",
    ).succeeds()  # fmt: skip
    cli(
        "retrieve", "--text", "a red cube", "--text", "cube", "--index", tmp_path / "i",
        "--output", tmp_path / "out", "--top", 5, "--device", "cpu",
    ).succeeds()  # fmt: skip
    table = results(tmp_path / "out")
    assert table["query"].unique().tolist() == ["a red cube", "cube"]
    assert len(table) == 10
    cli(
        "retrieve", "--text", "a red cube", "--index", index, "--output", tmp_path / "no",
        "--device", "cpu",
    ).refuses(2, "open-clip")  # fmt: skip
    assert not (tmp_path / "no").exists()


def test_a_model_of_another_target_is_refused_with_both_names(
    cli: Cli, pixel_index: Index, decoder: Path, scan: Path, tmp_path: Path
) -> None:
    cli(
        "retrieve", "--subject", "01", "--input", scan, "--model", decoder, "--index",
        pixel_index.folder, "--output", tmp_path / "out", "--device", "cpu",
    ).refuses(3, "decoder", "open-clip", "pixels")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "0 of --input, --text and --image"),
        (("--text", "a", "--image", "b.png"), 2, "2 of --input"),
        (("--input", "scan.npy"), 2, "--input without --subject"),
        (("--image", "nothing.png"), 3, "there is no picture"),
    ],
)
def test_wrong_use_is_one_message(
    cli: Cli, pixel_index: Index, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = cli(
        "retrieve", *words, "--index", pixel_index.folder, "--output", tmp_path / "o",
        "--device", "cpu",
    )  # fmt: skip
    done.refuses(code, message)


def test_a_query_picture_that_is_a_bomb_is_one_message(
    cli: Cli, pixel_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    cli(
        "retrieve", "--image", tmp_path / "bomb.png", "--index", pixel_index.folder,
        "--output", tmp_path / "o", "--device", "cpu",
    ).refuses(3, "far too large")  # fmt: skip


def test_commands_around_an_index(
    cli: Cli, pixel_index: Index, picture_folder: Path, tmp_path: Path
) -> None:
    done = cli("index info", pixel_index.folder).succeeds()
    assert "pictures    40 (0 skipped)" in done.out
    assert done.out.splitlines()[-1] == f"index: {pixel_index.folder}"
    done = cli("index verify", pixel_index.folder).succeeds()
    assert done.out.splitlines()[-1] == f"verified: {pixel_index.folder}"
    build = ("index build", "--pictures", picture_folder, "--target", "pixels:6x3", "--device",
             "cpu", "--output")  # fmt: skip
    cli(*build, tmp_path / "i").succeeds()
    cli(*build, tmp_path / "i").refuses(2, "not empty")
    cli(*build, tmp_path / "j", "--kind", "ivfpq").refuses(2, "256 vectors at least")
    cli("index add", tmp_path / "i", "--pictures", picture_folder, "--device", "cpu").refuses(
        2, "is in the index"
    )
    cli("index merge", tmp_path / "i", pixel_index.folder, "--output", tmp_path / "m").refuses(
        3, "identifiers again"
    )
    cli("index info", tmp_path).refuses(3, "is not an index")
    cli("index add", tmp_path / "i").refuses(2, "--pictures is not given")
    cli("index merge", tmp_path / "i", tmp_path / "i").refuses(2, "--output is not given")
    bare = cli("index build", "--target", "pixels:6x3")
    assert bare.code == 2
    assert "--pictures and --output must be given" in bare.err
