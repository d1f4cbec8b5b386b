from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.config import Config, resolve_config
from phosphene.errors import InputError, UsageError


class Inner(Config):
    rate: float = 0.1
    steps: int = 5


class Outer(Config):
    name: str
    inner: Inner = Inner()


def test_flags_beat_sets_and_sets_beat_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: file\ninner: {rate: 0.5, steps: 7}\n")
    config = resolve_config(
        Outer,
        file=tmp_path / "c.yaml",
        sets=["inner.rate=0.7", "name=set"],
        flags={"name": "flag", "inner.steps": None},
    )
    assert config == Outer(name="flag", inner=Inner(rate=0.7, steps=7))


class Middle(Config):
    inner: Inner = Inner(rate=0.9, steps=9)
    size: int = 1


class Whole(Config):
    middle: Middle = Middle(size=3)


def test_a_key_of_a_part_leaves_the_commands_own_defaults_of_the_others(tmp_path: Path) -> None:
    config = resolve_config(Whole, sets=["middle.inner.steps=4"])
    assert config == Whole(middle=Middle(inner=Inner(rate=0.9, steps=4), size=3))
    assert resolve_config(Whole, flags={"middle.size": 2}).middle.inner == Inner(rate=0.9, steps=9)
    # A part that a file gives is the file's, and so is what a set changes of it.
    (tmp_path / "c.yaml").write_text("middle: {inner: {steps: 7}}\n")
    config = resolve_config(Whole, file=tmp_path / "c.yaml", sets=["middle.inner.rate=0.2"])
    assert config.middle == Middle(inner=Inner(rate=0.2, steps=7), size=1)
    (tmp_path / "c.yaml").write_text("middle: {size: 5}\n")
    config = resolve_config(Whole, file=tmp_path / "c.yaml", sets=["middle.inner.rate=0.2"])
    assert config.middle == Middle(inner=Inner(rate=0.2, steps=9), size=5)


@pytest.mark.parametrize(
    "sets", [["inner.rat=1"], ["inner.steps=many"], ["nothing"], ["name.x=1", "name=2", "inner=3"]]
)
def test_unknown_keys_and_wrong_values_are_errors(sets: list[str]) -> None:
    with pytest.raises(UsageError):
        resolve_config(Outer, sets=sets, flags={"name": "x"} if "name.x=1" not in sets else {})


def test_a_missing_or_broken_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no configuration file"):
        resolve_config(Outer, file=tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not readable YAML"):
        resolve_config(Outer, file=tmp_path / "bad.yaml")
