"""Wrong use, odd paths, and where settings come from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phosphene import Reconstruction, Reconstructor
from phosphene.errors import InputError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_non_empty_output_is_not_touched(
    toy: Any, model: Path, dataset: Path, decode: Any, cli: Any, tmp_path: Path
) -> None:
    out = tmp_path / "taken"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    done = decode(toy.file("test.npy"), model, out)
    done.refuses(2, "taken exists and is not empty", "nothing of yours", "another --output")
    decode(toy.file("test.npy"), model, out, "--resume").refuses(2, "not empty")
    words = ("--recordings", toy.file("all.npy"), "--subject", "01", "--output", out)
    cli("prepare arrays", *words).refuses(2, "is not a dataset", "another output")
    words = ("--dataset", dataset, "--subject", "01", "--target", "pixels:8x1", "--output", out)
    cli("train encoder", *words).refuses(2, "not an empty folder", "another output")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert (out / "notes.txt").read_text() == "mine"


def test_recordings_and_stimuli_of_the_user_are_not_taken_for_a_dataset(
    toy: Any, cli: Any, tmp_path: Path
) -> None:
    """A folder of raw data often has just the names that a dataset has."""
    raw = tmp_path / "raw"
    (raw / "recordings").mkdir(parents=True)
    shutil.copy(toy.file("all.npy"), raw / "recordings" / "sub-01.npy")
    shutil.copytree(toy.file("stimuli"), raw / "stimuli")
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    cli(
        "prepare arrays", "--recordings", raw / "recordings/sub-01.npy", "--subject", "01",
        "--stimuli", raw / "stimuli", "--trials", toy.file("all.tsv"), "--output", raw,
    ).refuses(2, "is not a dataset")  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in raw.rglob("*")} == before


def test_an_output_that_cannot_be(
    toy: Any, model: Path, dataset: Path, decode: Any, cli: Any, tmp_path: Path
) -> None:
    """Root may write anywhere but below a file and in /proc."""
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "out", Path("/proc/out")):
        decode(toy.file("test.npy"), model, out).refuses(2, "could not be written", str(out))
        words = ("--recordings", toy.file("all.npy"), "--subject", "01", "--output", out)
        cli("prepare arrays", *words).refuses(2, "could not be written")
        words = ("--dataset", dataset, "--subject", "01", "--target", "pixels:8x1")
        cli("train encoder", *words, "--output", out).refuses(2, "could not be written")
    decode(toy.file("test.npy"), model, tmp_path / "file").refuses(2, "file exists and is not")
    assert (tmp_path / "file").read_text() == "x"


def test_the_input_as_output_is_not_touched(toy: Any, model: Path, decode: Any, here: Path) -> None:
    shutil.copy(toy.file("test.npy"), here / "scan.npy")
    before = (here / "scan.npy").read_bytes()
    decode("scan.npy", model, "scan.npy").refuses(2, "scan.npy exists")
    decode("scan.npy", model, ".").refuses(2, "exists and is not empty")
    decode("scan.npy", model, model).refuses(2, "exists and is not empty")
    assert (here / "scan.npy").read_bytes() == before


def test_paths_as_people_type_them(
    toy: Any, model: Path, cli: Any, decode: Any, here: Path
) -> None:
    folder = here / "my data" / "été 1"
    folder.mkdir(parents=True)
    shutil.copy(toy.file("test.npy"), folder / "scan 1.npy")
    shutil.copytree(model, folder / "a model")
    relative = "my data/été 1"
    decode(f"{relative}/scan 1.npy", f"./{relative}/a model/", "out 1/").succeeds()
    decode(f"{relative}/scan 1.npy", f"local-dir:{relative}/a model", "a/b/c/").succeeds()
    one, two = Reconstruction.load("out 1"), Reconstruction.load("a/b/../b/c")
    np.testing.assert_array_equal(one.images, two.images)
    words = ("--recordings", f"{relative}/scan 1.npy", "--subject", "sub-01")
    cli("prepare arrays", *words, "--output", "data set/").succeeds()


def test_the_current_folder_as_output(
    toy: Any, model: Path, dataset: Path, cli: Any, decode: Any, here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("out", "data", "model"):
        (here / name).mkdir()
    monkeypatch.chdir(here / "out")
    decode(toy.file("test.npy"), model, ".").succeeds()
    assert len(Reconstruction.load(here / "out")) == 18
    monkeypatch.chdir(here / "data")
    words = ("--recordings", toy.file("all.npy"), "--subject", "01", "--output", ".")
    cli("prepare arrays", *words).succeeds()
    assert '"name": "data"' in (here / "data/dataset.json").read_text()
    monkeypatch.chdir(here / "model")
    words = ("--dataset", dataset, "--subject", "01", "--target", "pixels:8x1", "--output", ".")
    cli("train encoder", *words).refuses(2, "no name of its own", "name one")


def test_a_subject_with_and_without_its_prefix(toy: Any, model: Path, cli: Any, here: Path) -> None:
    words = ("--input", toy.file("test.npy"), "--model", model, "--output")
    cli("reconstruct", "--subject", "sub-01", *words, "one").succeeds()
    cli("reconstruct", "--subject", "01", *words, "two").succeeds()
    one, two = Reconstruction.load("one"), Reconstruction.load("two")
    np.testing.assert_array_equal(one.seeds, two.seeds)
    assert one.provenance.config["subject"] == two.provenance.config["subject"] == "01"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--generator", "target-decode"), "did you mean 'target-decoder'"),
        (("--generator", "painter"), "target-decoder"),
        (("--average", "session"), "average"),
        (("--device", "gpu"), "device"),
        (("--dtype", "int8"), "dtype"),
        (("--samples", 0), "`samples`"),
        (("--batch-size", -3), "`batch_size`"),
        (("--set", "colour=1"), "colour"),
        (("--set", "samples"), "KEY=VALUE"),
        (("--set", "samples.deep=1"), "samples"),
        (("--set", "samples=[1"), "YAML"),
        (("--set", "samples=two"), "samples"),
        (("--set", "stimuli=perhaps"), "stimuli"),
    ],
)
def test_unknown_values(
    toy: Any, model: Path, decode: Any, here: Path, words: tuple[Any, ...], message: str
) -> None:
    decode(toy.file("test.npy"), model, "out", *words).refuses(2, message)
    assert not Path("out").exists()


def test_options_that_are_not_there(cli: Any, toy: Any, model: Path) -> None:
    assert cli("reconstruct", "--inptu", "x").code == 2
    assert cli("reconstruct", "--samples", "two").code == 2
    assert cli("prepare pictures").code == 2
    nothing = cli("reconstruct")
    assert nothing.code == 2
    assert "--subject and --input must be given" in nothing.err
    cli("prepare arrays", "--subject", "01").refuses(2, "--recordings is not given")
    words = ("--recordings", toy.file("all.npy"), "--subject", "01", "--output", "x")
    cli("prepare arrays", *words, "--dtype", "float64").refuses(2, "`dtype` is 'float64'")
    cli("prepare arrays", *words, "--modality", "eye").refuses(2, "`modality` is 'eye'")
    assert "--subject" in cli("train encoder", "--dataset", "x").err


def test_targets_and_datasets_that_are_not_there(cli: Any, dataset: Path, here: Path) -> None:
    def train(**words: object) -> Any:
        defaults = {"dataset": dataset, "subject": "01", "target": "pixels:8x1", "output": "m"}
        pairs = [(f"--{key}", value) for key, value in (defaults | words).items()]
        return cli("train encoder", *[word for pair in pairs for word in pair])

    train(target="pixels:8").refuses(2, "`target` is 'pixels:8'", "28x1")
    train(target="pixels:0x1").refuses(2, "`target` is 'pixels:0x1'")
    train(target="local-dir:nothing").refuses(4, "no model folder nothing")
    (here / "empty").mkdir()
    train(target="empty").refuses(3, "is not a target")
    train(dataset="empty").refuses(3, "no dataset.json", "phosphene prepare")
    train(dataset="nothing").refuses(3, "no dataset.json")
    train(subject="02").refuses(3, "no subject '02'", "one of 01")
    train(encoder="rigde").refuses(2, "did you mean 'ridge'")
    assert not Path("m").exists()


def test_flags_beat_sets_and_sets_beat_the_file(
    toy: Any, model: Path, cli: Any, here: Path
) -> None:
    recipe = {"subject": "01", "input": toy.file("test.npy"), "model": str(model), "seed": 1,
              "samples": 2, "batch_size": 7}  # fmt: skip
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    sets = ("--set", "seed=2", "--set", "batch_size=5")
    cli("reconstruct", "--config", "recipe.yaml", *sets, "--seed", 3, "--output", "o").succeeds()
    resolved = yaml.safe_load(Path("o/config.yaml").read_text())
    assert (resolved["seed"], resolved["batch_size"], resolved["samples"]) == (3, 5, 2)
    assert Reconstruction.load("o").provenance.config["seed"] == 3
    cli("reconstruct", "--config", "o/config.yaml", "--output", "again").succeeds()
    one, two = Reconstruction.load("o"), Reconstruction.load("again")
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.seeds, two.seeds)


def test_a_label_without_quotes_in_a_recipe(toy: Any, model: Path, cli: Any, here: Path) -> None:
    """YAML reads 01 as the number 1, which is another label."""
    Path("recipe.yaml").write_text(f"subject: 01\ninput: {toy.file('test.npy')}\nmodel: {model}\n")
    done = cli("reconstruct", "--config", "recipe.yaml")
    done.refuses(2, "subject", "quotes")
    done = cli("reconstruct", "--config", "recipe.yaml", "--set", "subject='01'", "--output", "o")
    done.succeeds()


def test_recipes_that_do_not_read(cli: Any, here: Path) -> None:
    cli("reconstruct", "--config", "no.yaml").refuses(3, "no.yaml")
    Path("list.yaml").write_text("- subject\n")
    cli("reconstruct", "--config", "list.yaml").refuses(3, "holds a list")
    Path("broken.yaml").write_text("subject: [")
    cli("reconstruct", "--config", "broken.yaml").refuses(3, "not readable YAML")
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    cli("reconstruct", "--config", "binary.yaml").refuses(3, "not readable YAML")
    cli("reconstruct", "--config", ".").refuses(3, "no configuration file")


def test_lists_and_help(cli: Any) -> None:
    listed = cli("datasets list").succeeds().out
    assert len(listed.splitlines()) > 3
    name = listed.split()[0]
    assert name in cli("datasets show", name).succeeds().out
    cli("datasets show", "nothing").refuses(2, "`dataset` is 'nothing'")
    assert cli("", "--version").succeeds().out.startswith("phosphene ")
    for command in ("", "prepare", "train", "train encoder", "report", "doctor"):
        assert "Usage" in cli(command, "--help").succeeds().out
    assert "Exit codes: 0 done" in " ".join(cli("reconstruct", "--help").succeeds().out.split())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.integers(0, 20), place=st.integers(0, 10**6), value=st.integers(0, 255),
    cut=st.booleans(),
)  # fmt: skip
def test_damaged_model_folders_raise_only_our_errors(
    model: Path, toy: Any, tmp_path: Path, name: int, place: int, value: int, cut: bool
) -> None:
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(model, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    # The index is not protected by a sum of its own, so it is the one to damage most often.
    path = copy / "model_index.json" if name > len(files) - 1 else files[name]
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] = value
    path.write_bytes(content[:place] if cut else content)
    same = path.read_bytes() == (model / path.relative_to(copy)).read_bytes()
    try:
        loaded = Reconstructor.from_pretrained(copy)
    except InputError:
        return
    assert same or path.name in ("model_index.json", "README.md")
    result = loaded.reconstruct(toy.file("test.npy"), subject="01")
    np.testing.assert_array_equal(result.images[:, 0], toy.shown)
