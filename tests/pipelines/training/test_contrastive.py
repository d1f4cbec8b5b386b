"""Training of CLIP models: its losses in closed form, and that it learns and resumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import caption_vocabulary, captions, render, sample_scenes
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.errors import InputError
from phosphene.pipelines.training.contrastive import (
    THUMBNAIL,
    THUMBNAIL_WEIGHT,
    _Embedder,
    _objective,
    _terms,
    train_contrastive,
)
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult

SIZE, GRID, N, WATCHED = 16, 2, 16, 6
CONFIG = EngineConfig(epochs=40, batch_size=N, learning_rate=3e-3, schedule="constant")
Told = list[list[str]]


def build(seed: int = 0, **text: int) -> OpenClipTarget:
    torch.manual_seed(seed)
    model = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": SIZE, "patch_size": 4, "width": 32, "layers": 1, "head_width": 16,
            "pool_type": "avg",
        },
        "text_cfg": {"context_length": 40, "width": 32, "heads": 2, "layers": 1, **text},
    }  # fmt: skip
    words = None if "vocab_size" in text else sorted(caption_vocabulary())
    return OpenClipTarget(model, words, grid=GRID)


def pooled_and_told(target: OpenClipTarget, pictures: Pictures, texts: Sequence[str]) -> Any:
    with torch.no_grad():
        pooled, _ = target.eval().features(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return pooled, target.encode_text(texts)


def matched(target: OpenClipTarget, pictures: Pictures, told: Told) -> tuple[float, float]:
    """Return how often a picture's first caption is nearest to it, and the other way round."""
    pooled, words = pooled_and_told(target, pictures, [some[0] for some in told])
    likeness, right = pooled @ words.T, torch.arange(len(pooled))
    picks = (likeness.argmax(1), likeness.argmax(0))
    return tuple(float((found == right).float().mean()) for found in picks)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def scenes() -> tuple[Pictures, Told]:
    """Pictures and three captions of each; the watched ones at the end are among the others."""
    drawn = sample_scenes(0, N)
    drawn = [*drawn, *drawn[:WATCHED]]
    return render(drawn, SIZE).images, [captions(scene, 3) for scene in drawn]


@pytest.fixture(scope="module")
def trained(
    scenes: tuple[Pictures, Told], tmp_path_factory: pytest.TempPathFactory
) -> tuple[OpenClipTarget, TrainingResult, Path]:
    folder, target = tmp_path_factory.mktemp("clip"), build()
    result = train_contrastive(target, *scenes, CONFIG, folder=folder, held_out=WATCHED)
    return target, result, folder


def test_it_learns_which_caption_tells_which_picture(
    trained: tuple[OpenClipTarget, TrainingResult, Path], scenes: tuple[Pictures, Told]
) -> None:
    target, result, _ = trained
    first, last = result.history[0], result.history[-1]
    assert first["contrastive"] > 0.8 * math.log(N)  # knows nothing yet
    assert last["contrastive"] < 0.5 * first["contrastive"]
    assert last["thumbnail"] < 0.5 * first["thumbnail"]
    assert min(row["validation"] for row in result.history) < 0.5 * first["validation"]
    pictures, told = scenes[0][:N], scenes[1][:N]
    # By chance one of 16; mirrored pictures are the same scene in words.
    assert min(matched(target, pictures, told)) > 0.5
    assert min(matched(target, pictures[:, :, ::-1].copy(), told)) > 0.5
    assert max(matched(build(), pictures, told)) < 0.3


def test_the_target_holds_the_kept_weights_and_is_standardised(
    trained: tuple[OpenClipTarget, TrainingResult, Path], scenes: tuple[Pictures, Told]
) -> None:
    target, result, _ = trained
    pictures, told = scenes
    assert result.best_step == N // CONFIG.batch_size * (
        1 + int(np.argmin([row["validation"] for row in result.history]))
    )
    for name, value in target.clip.state_dict().items():
        assert torch.equal(value, result.state[f"target.clip.{name}"])
    # What the history says of the kept weights, computed from the target alone.
    pooled, words = pooled_and_told(target, pictures[N:], [some[0] for some in told[N:]])
    logits = target.clip.logit_scale.detach().exp().clamp(max=100) * pooled @ words.T
    right = torch.arange(WATCHED)
    loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    assert min(row["validation"] for row in result.history) == pytest.approx(float(loss), abs=1e-5)
    values = target.encode(pictures)
    assert torch.allclose(values.mean(0), torch.zeros(target.spec.shape), atol=1e-5)
    assert torch.allclose(values.var(0, unbiased=False), torch.ones(target.spec.shape), atol=1e-4)


def test_a_finished_training_is_taken_from_its_folder(
    trained: tuple[OpenClipTarget, TrainingResult, Path], scenes: tuple[Pictures, Told]
) -> None:
    target, result, folder = trained
    written = {path: path.stat().st_mtime_ns for path in (folder / "checkpoint").iterdir()}
    again = build(seed=9)
    repeated = train_contrastive(again, *scenes, CONFIG, folder=folder, held_out=WATCHED)
    assert again.spec.hash == target.spec.hash
    assert torch.equal(again.encode(scenes[0]), target.encode(scenes[0]))
    assert (repeated.history, repeated.best_step) == (result.history, result.best_step)
    assert written == {p: p.stat().st_mtime_ns for p in (folder / "checkpoint").iterdir()}


@pytest.mark.parametrize("log_scale", [1.5, 9.0])  # exp(9) is beyond the limit of 100
def test_the_contrastive_loss_is_cross_entropy_in_both_directions(
    log_scale: float, scenes: tuple[Pictures, Told]
) -> None:
    target = build()
    with torch.no_grad():
        target.clip.logit_scale.fill_(log_scale)
    pictures, texts = scenes[0][:5], [some[1] for some in scenes[1][:5]]
    pooled, words = pooled_and_told(target, pictures, texts)
    logits = min(math.exp(log_scale), 100) * pooled.double() @ words.double().T
    rows = torch.logsumexp(logits, 1) - logits.diagonal()
    columns = torch.logsumexp(logits, 0) - logits.diagonal()
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.no_grad():
        terms = _terms(_Embedder(target), images, target.tokenize(texts))
    expected = float((rows.mean() + columns.mean()) / 2)
    assert float(terms["contrastive"]) == pytest.approx(expected, rel=1e-3)
    total = terms["contrastive"] + THUMBNAIL_WEIGHT * terms["thumbnail"]
    assert torch.allclose(terms["loss"], total)


def test_each_token_tells_the_thumbnail_of_its_own_cell() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    target = build()
    embedder = _Embedder(target).eval()
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.no_grad():
        terms = _terms(embedder, images, target.tokenize(["a", "red", "cube"]))
        told = embedder.thumbnail(target.features(images)[1])
    cell, pixel = SIZE // GRID, SIZE // GRID // THUMBNAIL
    colours = pictures.astype(np.float64) / 127.5 - 1
    told = told.reshape(3, GRID, GRID, 3, THUMBNAIL, THUMBNAIL).double().numpy()
    squares = []
    for row, column, y, x in np.ndindex(GRID, GRID, THUMBNAIL, THUMBNAIL):
        top, left = row * cell + y * pixel, column * cell + x * pixel
        mean = colours[:, top : top + pixel, left : left + pixel].mean((1, 2))
        squares.append((told[:, row, column, :, y, x] - mean) ** 2)
    assert float(terms["thumbnail"]) == pytest.approx(np.mean(squares), rel=1e-5)


@torch.no_grad()
def test_pictures_are_mirrored_left_to_right_only(scenes: tuple[Pictures, Told]) -> None:
    target = build()
    embedder = _Embedder(target).eval()
    half = torch.from_numpy(scenes[0][:6, :, : SIZE // 2]).permute(0, 3, 1, 2)
    texts = target.tokenize([some[0] for some in scenes[1][:6]])
    batch = {"image": torch.cat([half, half.flip(-1)], dim=-1), "text": texts[:, None]}
    plain = _terms(embedder, batch["image"], texts)
    turned = {**batch, "image": batch["image"].transpose(-1, -2)}  # like itself upside down
    changed = _terms(embedder, turned["image"], texts)
    losses = []
    for seed in range(4):
        drawn = _objective(embedder, batch, torch.Generator().manual_seed(seed), 0.0)
        assert torch.allclose(drawn["loss"], plain["loss"], atol=1e-5)
        drawn = _objective(embedder, turned, torch.Generator().manual_seed(seed), 0.0)
        losses.append(float((drawn["loss"] - changed["loss"]).abs()))
    assert max(losses) > 1e-3


@torch.no_grad()
def test_every_caption_is_drawn_with_its_own_picture(scenes: tuple[Pictures, Told]) -> None:
    """Of two captions of each of two pictures, every choice has to occur and no other."""
    target = build()
    embedder = _Embedder(target).eval()
    half = torch.from_numpy(scenes[0][:2, :, : SIZE // 2]).permute(0, 3, 1, 2)
    images = torch.cat([half, half.flip(-1)], dim=-1)  # the same when mirrored
    texts = torch.stack([target.tokenize(some[:2]) for some in scenes[1][:2]])
    possible = [
        float(_terms(embedder, images, texts[torch.arange(2), torch.tensor(choice)])["loss"])
        for choice in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    found = set()
    for seed in range(24):
        generator = torch.Generator().manual_seed(seed)
        drawn = _objective(embedder, {"image": images, "text": texts}, generator, 0.0)
        gaps = np.abs(np.array(possible) - float(drawn["loss"]))
        assert gaps.min() < 1e-4
        found.add(int(gaps.argmin()))
    assert found == {0, 1, 2, 3}


def test_pictures_of_another_size_and_too_few_are_refused(
    scenes: tuple[Pictures, Told], tmp_path: Path
) -> None:
    pictures, told = scenes
    for wrong, held_out in ((pictures[:, ::2], 2), (pictures[..., :1], 2), (pictures[:6], 6)):
        with pytest.raises(InputError, match="of 16 x 16 x 3") as caught:
            train_contrastive(
                build(), wrong, told[: len(wrong)], CONFIG, folder=tmp_path, held_out=held_out
            )
        assert str(wrong.shape) in caught.value.found
    assert not list(tmp_path.iterdir())


def one_epoch(target: OpenClipTarget, data: tuple[Pictures, Told], folder: Path, n: int) -> None:
    quick = CONFIG.model_copy(update={"epochs": 1})
    train_contrastive(target, *data, quick, folder=folder, held_out=n)


@pytest.mark.parametrize("wrong", ["more", "fewer", "ragged"])
def test_captions_that_do_not_fit_the_pictures_are_refused(
    wrong: str, scenes: tuple[Pictures, Told], tmp_path: Path
) -> None:
    pictures, told = scenes
    changed = {"more": [*told, told[0]], "fewer": told[:-1], "ragged": [told[0][:2], *told[1:]]}
    with pytest.raises(InputError, match="captions"):
        one_epoch(build(), (pictures, changed[wrong]), tmp_path, WATCHED)


def test_without_held_out_pictures_the_last_weights_are_kept(
    scenes: tuple[Pictures, Told], tmp_path: Path
) -> None:
    one_epoch(build(), scenes, tmp_path, 0)


def test_models_of_byte_pairs_can_be_trained(scenes: tuple[Pictures, Told], tmp_path: Path) -> None:
    target = build(context_length=77, vocab_size=49408)
    one_epoch(target, scenes, tmp_path, WATCHED)
