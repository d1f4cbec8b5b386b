"""`phosphene models`: true facts, and one message with exit code 4 where something is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phosphene.checkpoints.fetching import smallest_weights
from phosphene.checkpoints.registry import (
    find_generator,
    find_video_generator,
    known_generators,
    known_video_generators,
)
from phosphene.pipelines.generators import GENERATORS
from phosphene.pipelines.generators.video import VIDEO_GENERATORS
from phosphene.pipelines.generators.video.options import VideoOptions

Cli = Callable[..., Any]


def test_every_generator_is_listed(cli: Cli) -> None:
    lines = cli("models list").succeeds().out.splitlines()
    names = {line.split()[0] for line in lines}
    assert set(known_generators()) | set(known_video_generators()) <= names


def test_video_generators_of_the_package_are_listed_and_shown(cli: Cli) -> None:
    listed = cli("models list").succeeds().out
    for name in ("keyframe_flow", "default_video"):
        assert name in VIDEO_GENERATORS.names()
        assert name in listed
        assert f"--generator {name}" in cli("models show", name).succeeds().out
    cli("models fetch default_video").refuses(2, "comes with the package")


@pytest.mark.parametrize("name", sorted(known_generators()))
def test_facts_are_complete_and_shown(name: str, cli: Cli) -> None:
    entry = known_generators()[name]
    assert entry.generator in GENERATORS.names()
    shown = cli("models show", name).succeeds().out
    for part in entry.parts.values():
        assert part.repo in shown
        assert f"licence: {part.licence}" in shown
    given = entry.embedding
    embedding = ("that of the generator",) if given is None else (given.model, given.weights)
    for fact in (*embedding, "steps", "guidance_scale"):
        assert fact in shown
    assert f"no: phosphene models fetch {name}" in shown  # the suite has no network and no cache
    options: Any = GENERATORS.get(entry.generator)
    options.read_options(dict(entry.options))


@pytest.mark.parametrize("name", sorted(known_video_generators()))
def test_facts_of_video_generators_are_complete_and_shown(name: str, cli: Cli) -> None:
    entry = known_video_generators()[name]
    assert entry.generator in VIDEO_GENERATORS.names()
    shown = cli("models show", name).succeeds().out
    for part in entry.parts.values():
        assert part.repo in shown
        assert f"licence: {part.licence}" in shown
    for fact in ("steps", "guidance_scale", "unconfirmed", f"phosphene models fetch {name}"):
        assert fact in shown
    assert "half precision" not in next(line for line in shown.splitlines() if "size" in line)
    kind: Any = VIDEO_GENERATORS.get(entry.generator)
    options: VideoOptions = kind.options_class.model_validate(entry.options)
    assert (options.height % 32, options.width % 16) == (0, 0)


def test_each_kind_of_video_generator_has_one_default() -> None:
    known = known_video_generators()
    assert not set(known) & set(known_generators())
    for kind in {entry.generator for entry in known.values()}:
        assert sum(e.default for e in known.values() if e.generator == kind) == 1
        found = find_video_generator(kind)
        assert found is not None
        assert found[1].default


def test_each_kind_has_one_default() -> None:
    kinds = {entry.generator for entry in known_generators().values()}
    for kind in kinds:
        mine = [e for e in known_generators().values() if e.generator == kind]
        assert sum(entry.default for entry in mine) == 1
        found = find_generator(kind)
        assert found is not None
        assert found[1].default
    assert find_generator("latent-diffusion") is None


def test_what_is_missing_is_told_with_exit_code_4(cli: Cli, tmp_path: Path) -> None:
    done = cli("models fetch", "kandinsky22", "--offline")
    done.refuses(4, "2642 MB", "Apache-2.0", "phosphene models fetch kandinsky22")
    done = cli("models fetch", "ip-adapter", "--output", tmp_path, "--offline")
    done.refuses(4, "stabilityai/sdxl-turbo", "not for commercial use", f"local-dir:{tmp_path}")


def test_an_unknown_name_is_told_with_a_guess(cli: Cli) -> None:
    cli("models show", "kandinski22").refuses(2, "did you mean 'kandinsky22'?")


def test_half_precision_is_taken_and_pickles_never_are() -> None:
    names = [
        "model_index.json", "unet/config.json", "unet/weights.safetensors",
        "unet/weights.fp16.safetensors", "unet/weights.bin", "movq/weights.safetensors",
        "movq/weights.pkl", "other/weights.safetensors", "tokenizer/merges.txt",
    ]  # fmt: skip
    found = smallest_weights(["model_index.json", "unet/*", "movq/*", "tokenizer/*"], names)
    assert found == [
        "model_index.json", "unet/config.json", "unet/weights.fp16.safetensors",
        "movq/weights.safetensors", "tokenizer/merges.txt",
    ]  # fmt: skip
    file = "sdxl_models/adapter.safetensors"
    assert smallest_weights([file], [file, "sdxl_models/adapter.fp16.safetensors"]) == [file]


def test_a_single_file_is_converted(cli: Cli, tmp_path: Path) -> None:
    done = cli("models fetch", "sdxl-unclip")
    done.refuses(2, "published as one file", "phosphene models fetch sdxl-unclip --output FOLDER")
    done = cli("models fetch", "sdxl-unclip", "--output", tmp_path / "there", "--offline")
    done.refuses(4, "unclip6_epoch0_step110000.ckpt", "17720 MB", "phosphene models convert")
    done = cli("models convert", "sdxl-unclip", tmp_path / "none.ckpt", "--output", tmp_path / "a")
    done.refuses(3, "there is no file")
    done = cli("models convert", "kandinsky22", "file", "--output", tmp_path / "a")
    done.refuses(2, "not published as a single file")
