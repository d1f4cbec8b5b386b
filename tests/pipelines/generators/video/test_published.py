"""Published video generators on tiny pipelines: the contract, starts, settings, what is missing."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.checkpoints.registry import find_video_generator, known_video_generators
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.generators.video import VIDEO_GENERATORS
from phosphene.pipelines.generators.video.base import VideoConditions
from phosphene.pipelines.generators.video.choosing import open_video_generator
from phosphene.pipelines.generators.video.fitting import Frame, picked_frames
from phosphene.types import BrainEmbedding

spec = importlib.util.spec_from_file_location(
    "tiny_video_pipelines", Path(__file__).with_name("tiny_video_pipelines.py")
)
assert spec is not None
assert spec.loader is not None
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

NAMES = sorted(known_video_generators())
MOVING = [name for name in NAMES if name != "animatediff-ip-adapter"]
N = 3
Open = Callable[..., Any]


class Pictures:
    """What an adapter looks at of a picture generator."""

    def __init__(self) -> None:
        self.target = tiny.tiny.clip_vision("pooled")
        self.latents: LatentTarget | None = None


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    root = tmp_path_factory.mktemp("video")

    def source(name: str) -> str:
        if not (root / name).is_dir():
            # The same weights whatever was drawn before: some are too faint to tell masks apart.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                tiny.MAKERS[name](root / name)
        return f"local-dir:{root / name}"

    return source


@pytest.fixture(scope="module")
def opened(sources: Callable[[str], str]) -> Open:
    """``opened(entry, **options)`` gives a published video generator."""

    def make(name: str, **options: Any) -> Any:
        found = find_video_generator(name)
        assert found is not None
        kind: Any = VIDEO_GENERATORS.get(found[1].generator)
        settings = {"steps": 3, "guidance_scale": 3.0, **tiny.OPTIONS[name], **options}
        return kind.open(name, Pictures(), source=sources(name), options=settings)

    return make


@pytest.fixture
def conditions(video_conditions: Callable[..., VideoConditions]) -> VideoConditions:
    made = video_conditions(N)
    pooled = torch.randn(N, 12, generator=torch.Generator().manual_seed(4))
    return replace(made, embedding=BrainEmbedding(pooled=pooled))


def streams(n: int = N) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(n)]


def test_every_published_generator_is_here() -> None:
    assert {e.generator for e in known_video_generators().values()} <= set(VIDEO_GENERATORS.names())
    assert set(NAMES) == set(tiny.MAKERS)


@pytest.mark.parametrize("name", NAMES)
def test_what_every_video_generator_promises(
    name: str, opened: Open, conditions: VideoConditions, video_contract: Any
) -> None:
    whole = video_contract(opened(name), conditions)
    assert np.abs(np.diff(whole.astype(int), axis=1)).max() > 3  # something moves


@pytest.mark.parametrize("name", ["animatediff-ip-adapter", "wan"])
def test_several_clips_at_a_time_are_the_same_clips(
    name: str, opened: Open, conditions: VideoConditions, video_contract: Any
) -> None:
    init = torch.rand((N, 8, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    pair = opened(name, batch=2)
    together = video_contract(pair, conditions, tolerance=1, init=init, strength=0.6)
    alone = opened(name).generate(conditions, init=init, strength=0.6, generators=streams())
    again = pair.generate(conditions, init=init, strength=0.6, generators=streams())
    assert np.abs(again.astype(int) - alone.astype(int)).max() <= 1
    assert together.shape == alone.shape


@pytest.mark.parametrize("name", MOVING)
def test_strength_0_returns_the_start_and_1_ignores_it(
    name: str, opened: Open, conditions: VideoConditions, caplog: pytest.LogCaptureFixture
) -> None:
    made = opened(name)
    some = conditions[:2]
    init = torch.rand((2, 8, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    with caplog.at_level(logging.INFO):
        kept = made.generate(some, init=init, strength=0.0, generators=streams(2))
        caplog.set_level(logging.INFO)
    assert "strength 0 keeps 1.000 of the start's power" in caplog.text
    other = replace(some, keyframes=some.keyframes.flip(0), flow=None)
    again = made.generate(other, init=init, strength=0.0, generators=streams(2)[::-1])
    assert np.array_equal(kept, again)  # neither keyframe nor noise has a say
    frames, rate = made._length(1.0, 8, 8.0)
    options = made.options
    frame = Frame((16, 16), (options.height, options.width))
    wanted = []
    for clip in init:
        video = frame.around(clip[torch.arange(frames).clamp(max=7)])
        latents = made.encode((video * 2 - 1).transpose(0, 1)[None])
        shown = made.decode(latents)[picked_frames(8, 1.0, rate, frames)]
        wanted.append((shown * 255).round().byte().movedim(1, -1).numpy())
    assert np.abs(np.stack(wanted).astype(int) - kept.astype(int)).max() <= 1
    ignored = made.generate(some, init=init, strength=1.0, generators=streams(2))
    assert np.array_equal(ignored, made.generate(some, generators=streams(2)))
    between = made.generate(some, init=init, strength=0.4, generators=streams(2))
    assert not np.array_equal(between, kept)
    assert not np.array_equal(between, ignored)


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load_give_the_same_clips(
    name: str, opened: Open, conditions: VideoConditions, tmp_path: Path
) -> None:
    made = opened(name, prompt="a dog")
    made.save(tmp_path)
    again = type(made).load(tmp_path, Pictures())
    first, second = (one.generate(conditions[:1], generators=streams(1)) for one in (made, again))
    assert np.array_equal(first, second)
    assert again.settings == made.settings


def test_a_clip_starts_from_the_perception_flow(
    opened: Open, conditions: VideoConditions, tiny_latents: LatentTarget
) -> None:
    made = opened("ltx", start=0.0)
    with pytest.raises(InputError, match="no perception flow that can be decoded"):
        made.generate(conditions, generators=streams())
    made.pictures.latents = tiny_latents
    assert conditions.lowlevel is not None
    shown = tiny_latents.decode(conditions.lowlevel[1])
    video = shown[torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])]
    found = made._perception(conditions, 8)
    assert torch.allclose(found[1, [0, 7]], video[[0, 7]], atol=1e-5)
    init = found[1:2]
    kept = opened("ltx").generate(conditions[1:2], init=init, strength=0.0, generators=streams(1))
    clips = made.generate(conditions, generators=streams())
    assert np.abs(clips[1].astype(int) - kept[0]).max() <= 1


def test_other_weights_than_those_saved_with_are_refused(opened: Open, tmp_path: Path) -> None:
    made = opened("ltx")
    with torch.no_grad():
        made.network.proj_in.weight.add_(1)
    made.save(tmp_path)
    with pytest.raises(InputError, match="the weights of ltx here"):
        type(made).load(tmp_path, None)


@pytest.mark.parametrize("name", ["animatediff", "wan", "cogvideox", "ltx"])
def test_prompts_and_captions_are_heard(
    name: str, opened: Open, conditions: VideoConditions
) -> None:
    some = replace(conditions[:2], captions=("a dog runs", "b"))
    plain = opened(name).generate(some, generators=streams(2))
    told = opened(name, prompt="a dog runs").generate(some, generators=streams(2))
    each = opened(name, captions=True).generate(some, generators=streams(2))
    assert not np.array_equal(plain, told)
    assert np.array_equal(each[0], told[0])
    assert not np.array_equal(each[1], told[1])


def test_radial_attention_from_18_latent_frames_on(
    opened: Open, conditions: VideoConditions, caplog: pytest.LogCaptureFixture
) -> None:
    long = replace(conditions[:1], seconds=69 / 8)
    dense = opened("ltx").generate(long, generators=streams(1))
    wide, narrow, late = (
        opened("ltx", radial=True, radial_dense_layers=0, **more).generate(
            long, generators=streams(1)
        )
        for more in (
            {"radial_factor": 1e9, "radial_dense_share": 0.0},
            {"radial_dense_share": 0.0},
            {"radial_dense_share": 1.0},
        )
    )
    assert np.abs(wide.astype(int) - dense.astype(int)).max() <= 1
    assert np.array_equal(late, dense)
    assert np.abs(narrow.astype(int) - dense.astype(int)).max() > 1
    with caplog.at_level(logging.INFO):
        short = opened("ltx", radial=True).generate(conditions[:1], generators=streams(1))
    assert "radial attention would save nothing" in caplog.text
    assert np.array_equal(short, opened("ltx").generate(conditions[:1], generators=streams(1)))
    with pytest.raises(UsageError, match="radial attention for animatediff"):
        opened("animatediff", radial=True)


@pytest.mark.parametrize("name", ["animatediff", "stable-video-diffusion"])
def test_frames_are_decoded_in_parts(name: str, opened: Open) -> None:
    one, whole = (opened(name, decode_frames=many) for many in (1, 100))
    latents = torch.randn(1, 4, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    parts: list[int] = []
    decode = one.vae.decode
    one.vae.decode = lambda z, **more: parts.append(len(z)) or decode(z, **more)
    found, wanted = one.decode(latents), whole.decode(latents)
    assert parts == [1] * 6
    if name == "animatediff":  # the other decoder looks at neighbours
        assert torch.allclose(found, wanted, atol=1e-5)
    assert found.shape == wanted.shape == (6, 3, 16, 16)


def test_the_picture_is_followed_back_to_the_first_frame(opened: Open) -> None:
    made = opened("stable-video-diffusion")
    key = torch.zeros(1, 3, 16, 16)
    key[..., 8:10] = 1
    flow = torch.zeros(1, 4, 2, 4, 4)
    flow[:, :, 0] = 0.5  # half a picture to the right per second
    first = made._picture(VideoConditions(1.0, key, flow=flow))
    column = (first[0, 0].mean(0) * torch.arange(16)).sum() / first[0, 0].mean(0).sum()
    assert float(column) == pytest.approx(8.5 - 16 * 0.5 * (0.5 - 1 / 16), abs=0.3)
    assert torch.equal(made._picture(VideoConditions(1.0, key)), key)
    still = opened("animatediff")._picture(VideoConditions(1.0, key, flow=flow))
    assert torch.equal(still, key)  # it is kept to the middle of the clip


def test_pictures_of_another_shape_lie_in_the_middle() -> None:
    frame = Frame((8, 8), (16, 24))
    shown = frame.around(torch.rand(2, 3, 8, 8))
    assert shown.shape == (2, 3, 16, 24)
    assert frame.inside(shown).shape == (2, 3, 16, 16)
    assert torch.equal(shown[..., 0], shown[..., 4])


def test_frames_of_another_rate_are_picked() -> None:
    assert picked_frames(8, 1.0, 8.0, 9).tolist() == list(range(8))
    assert picked_frames(4, 2.0, 16.0, 33).tolist() == [3, 11, 19, 27]


def test_wrong_use_is_one_message(opened: Open, conditions: VideoConditions) -> None:
    with pytest.raises(UsageError, match="3 s for cogvideox"):
        opened("cogvideox", rate=8.0).generate(
            replace(conditions, seconds=3.0), generators=streams()
        )
    with pytest.raises(UsageError, match="20 frames of one clip"):
        opened("animatediff").generate(conditions, generators=streams(), fps=20.0)
    with pytest.raises(InputError, match="clips without embeddings"):
        opened("animatediff-ip-adapter").generate(
            replace(conditions, embedding=None), generators=streams()
        )
    with pytest.raises(UsageError, match="at least one step"):
        opened("wan").generate(conditions, generators=streams(), num_inference_steps=0)
    with pytest.raises(UsageError, match="without a GPU"):
        opened("wan", offload=True).to("cpu")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="91350 MB, licence: Apache"):
        open_video_generator("wan", tmp_path, Pictures())  # type: ignore[arg-type]
    with pytest.raises(AssetError, match="phosphene models fetch stable-video-diffusion"):
        open_video_generator(f"stable-video-diffusion:local-dir:{tmp_path}", tmp_path, Pictures())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean 'cogvideox'"):
        open_video_generator("cogvideo", tmp_path, Pictures())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="options steps"):
        open_video_generator("keyframe_flow", tmp_path, Pictures(), {"steps": 3})  # type: ignore[arg-type]


def test_another_kind_than_the_models_own_begins_anew(tmp_path: Path) -> None:
    from phosphene.pipelines.generators.video.keyframe_flow import KeyframeFlow

    KeyframeFlow(None, correction=0.25).save(tmp_path)
    own = open_video_generator("keyframe_flow", tmp_path, Pictures())  # type: ignore[arg-type]
    assert own.settings["correction"] == "0.25"
    with pytest.raises(AssetError):  # and not an error about what the folder holds
        open_video_generator("ltx", tmp_path, Pictures())  # type: ignore[arg-type]


def test_opening_by_name_and_place(sources: Callable[[str], str], tmp_path: Path) -> None:
    made = open_video_generator(
        f"wan:{sources('wan')}",
        tmp_path,
        Pictures(),
        {"steps": 2},  # type: ignore[arg-type]
    )
    assert made.settings["published"] == "wan"


def test_embeddings_of_another_network_are_refused(sources: Callable[[str], str]) -> None:
    kind: Any = VIDEO_GENERATORS.get("animatediff")
    with pytest.raises(InputError, match="without a target of embeddings"):
        kind.open("animatediff-ip-adapter", None, source=sources("animatediff-ip-adapter"))


def test_batch_auto_is_one_clip_without_a_gpu(opened: Open, conditions: VideoConditions) -> None:
    made = opened("wan")
    assert made.batch_by_memory()
    made.to("cpu")
    clips = made.generate(conditions[:1], generators=streams(1))
    assert made._block == 1
    assert np.array_equal(clips, opened("wan").generate(conditions[:1], generators=streams(1)))


def test_latents_of_the_first_autoencoder_are_decoded_by_one_s_own(
    opened: Open, conditions: VideoConditions
) -> None:
    """Published decoders of clips predict them, and bring no autoencoder along."""
    made = opened("animatediff", start=0.0)
    latents = torch.randn((N, 2, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    flow = replace(conditions, lowlevel=latents)
    found = made._perception(flow, 4)
    shown = made.vae.decode(latents[1] / 0.18215).sample / 2 + 0.5
    torch.testing.assert_close(found[1, [0, 3]], shown.clamp(0, 1), rtol=0, atol=1e-5)
    alone = made._perception(flow[1:2], 4)
    assert torch.equal(alone[0], found[1])
    with pytest.raises(InputError, match="no perception flow that can be decoded"):
        made._perception(replace(conditions, lowlevel=latents[:, :, :3]), 4)
