"""CLIP as target, against open_clip itself and the definitions of its tokens."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.open_clip import BATCH, OpenClipTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.storage import load_tensors, save_tensors

SIZE, PATCH, WIDTH, CONTEXT = 16, 4, 32, 10
PAD, UNKNOWN, START, A, RED, CUBE, END = range(7)
WORDS = ["a", "red", "cube"]
TEXTS = ["a red cube", "A CUBE", "red", "", "a zorp cube", "cube, red!", "red " * 30]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def model(**text: int) -> dict[str, Any]:
    return {
        "embed_dim": 12,
        "vision_cfg": {
            "image_size": SIZE, "patch_size": PATCH, "width": WIDTH, "layers": 2,
            "head_width": 16, "pool_type": "avg",
        },
        "text_cfg": {"context_length": CONTEXT, "width": WIDTH, "heads": 2, "layers": 1, **text},
    }  # fmt: skip


def build(seed: int = 0, **changes: Any) -> OpenClipTarget:
    torch.manual_seed(seed)
    settings = {"model": model(), "words": WORDS, "grid": 2, "mean": MEAN, "std": STD} | changes
    return OpenClipTarget(**settings)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return render(sample_scenes(0, 24), SIZE).images


@pytest.fixture(scope="module", params=["tokens", "pooled"])
def target(request: pytest.FixtureRequest, pictures: Pictures) -> OpenClipTarget:
    made = build(output=request.param)
    made.standardise(pictures)
    return made


def patch_tokens(target: OpenClipTarget, pictures: Pictures) -> torch.Tensor:
    """Return the tokens (n, rows, columns, width) that open_clip's own network gives beside the
    pooled vector."""
    visual: Any = target.clip.visual
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    scaled = (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    visual.output_tokens = True
    with torch.no_grad():
        _, tokens = target.eval().clip.visual(scaled)
    visual.output_tokens = False
    side = SIZE // PATCH
    return tokens[:, -(side**2) :].reshape(-1, side, side, WIDTH)


def test_saving_and_loading_are_exact(
    target: OpenClipTarget, pictures: Pictures, tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path)
    again = STIMULUS_ENCODERS.get("open-clip").from_pretrained(tmp_path)
    assert again.spec == target.spec
    assert again.spec.hash == target.spec.hash
    assert again.config == target.config
    assert torch.equal(again.encode(pictures), target.encode(pictures))
    assert torch.equal(again.encode_text(TEXTS), target.encode_text(TEXTS))
    again.save_pretrained(tmp_path / "second")
    for file in tmp_path.glob("*.*"):
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_the_hash_tells_weights_statistics_output_grid_and_colours_apart(
    pictures: Pictures,
) -> None:
    standardised, changed = build(), build()
    standardised.standardise(pictures)
    with torch.no_grad():
        changed.clip.logit_scale.add_(1e-3)
    others = [build(1), standardised, changed]
    others += [build(output="pooled"), build(grid=4), build(std=STD[::-1])]
    assert build().spec.hash == build().spec.hash
    assert len({one.spec.hash for one in [build(), *others]}) == 1 + len(others)


def test_the_folder_loads_through_open_clip_itself(
    target: OpenClipTarget, pictures: Pictures, tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path)
    name = f"local-dir:{tmp_path}"
    theirs, _, preprocess = open_clip.create_model_and_transforms(name, require_pretrained=True)
    prepared = torch.stack([preprocess(Image.fromarray(one)) for one in pictures])
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        pooled = theirs.eval().encode_image(prepared, normalize=True)
        words = theirs.encode_text(tokenizer(TEXTS), normalize=True)
    assert torch.equal(tokenizer(TEXTS), target.tokenize(TEXTS))
    assert torch.allclose(words, target.encode_text(TEXTS), atol=1e-6)
    if target.output == "pooled":
        ours = target.encode(pictures) * target.target_scale + target.target_mean
        assert torch.allclose(pooled, ours, atol=1e-5)
    taken = OpenClipTarget.from_open_clip(name)
    assert torch.allclose(taken.encode(pictures), pooled, atol=1e-5)
    tokens = OpenClipTarget.from_open_clip(name, output="tokens", grid=2)
    assert torch.allclose(tokens.encode(pictures), build().encode(pictures), atol=1e-5)


def test_words_of_a_folder_taken_through_open_clip_stay_its_own(tmp_path: Path) -> None:
    target = build()
    target.save_pretrained(tmp_path)
    taken = OpenClipTarget.from_open_clip(f"local-dir:{tmp_path}")
    assert torch.allclose(taken.encode_text(TEXTS), target.encode_text(TEXTS), atol=1e-6)


def test_batch_equals_one_at_a_time_in_any_order(
    target: OpenClipTarget, pictures: Pictures
) -> None:
    many = np.random.default_rng(0).integers(0, 256, (BATCH + 3, SIZE, SIZE, 3), dtype=np.uint8)
    together = target.encode(many)
    assert together.shape == (BATCH + 3, *target.spec.shape)
    assert together.dtype == torch.float32
    for row in (0, BATCH - 1, BATCH, BATCH + 2):
        assert torch.allclose(target.encode(many[row : row + 1])[0], together[row], atol=1e-4)
    order = np.random.default_rng(1).permutation(len(many))
    assert torch.allclose(target.encode(many[order]), together[order], atol=1e-4)
    told = target.encode_text(TEXTS)
    alone = torch.cat([target.encode_text([text]) for text in TEXTS])
    assert torch.allclose(alone, told, atol=1e-6)
    assert torch.allclose(told.norm(dim=-1), torch.ones(len(TEXTS)))


def test_standardised_targets_have_mean_0_and_variance_1(
    target: OpenClipTarget, pictures: Pictures
) -> None:
    values = target.encode(pictures)
    assert torch.allclose(values.mean(0), torch.zeros(target.spec.shape), atol=1e-5)
    assert torch.allclose(values.var(0, unbiased=False), torch.ones(target.spec.shape), atol=1e-4)
    before = target.spec.hash
    target.standardise(pictures)
    assert target.spec.hash == before


@pytest.mark.parametrize("grid", [0, 1, 2, 4])
def test_grid_tokens_are_block_means_of_patch_tokens(grid: int, pictures: Pictures) -> None:
    target = build(grid=grid)
    patches = patch_tokens(target, pictures)
    side = grid or SIZE // PATCH
    block = SIZE // PATCH // side
    tokens = target.encode(pictures)
    assert tokens.shape == (len(pictures), side**2, WIDTH) == (len(pictures), *target.spec.shape)
    for row, column in itertools.product(range(side), repeat=2):
        rows, columns = (slice(i * block, (i + 1) * block) for i in (row, column))
        expected = patches[:, rows, columns].mean((1, 2))
        assert torch.allclose(tokens[:, row * side + column], expected, atol=1e-5)


def test_a_token_without_attention_sees_its_own_cell() -> None:
    """Attention and feed-forward parts add nothing here, so a patch reaches one token alone."""
    target = build()
    blocks: Any = target.clip.visual.transformer.resblocks  # type: ignore[union-attr]
    with torch.no_grad():
        for block in blocks:
            for layer in (block.attn.out_proj, block.mlp.c_proj):
                layer.weight.zero_()
                layer.bias.zero_()
    plain = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    for row, column in itertools.product(range(2), repeat=2):
        marked = plain.copy()
        # Of the cell's 8 x 8 pixels only one patch's: up left in the cell.
        marked[0, 8 * row : 8 * row + PATCH, 8 * column : 8 * column + PATCH] = (250, 10, 120)
        changed = (target.encode(marked) - target.encode(plain))[0].abs().amax(-1) > 1e-4
        assert changed.nonzero().tolist() == [[2 * row + column]]


def test_pooled_features_have_unit_length_and_do_not_depend_on_the_number_type() -> None:
    values = torch.randint(0, 256, (3, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    target = build().eval()
    with torch.no_grad():
        pooled, tokens = target.features(values.to(torch.uint8))
        same, same_tokens = target.features(values / 255)
    assert torch.allclose(pooled.norm(dim=-1), torch.ones(3))
    assert torch.allclose(pooled, same, atol=1e-6)
    assert torch.allclose(tokens, same_tokens, atol=1e-5)
    black = target.normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))[0, :, 0, 0]
    assert black.tolist() == pytest.approx([-2.0, -5 / 3, -2.4])


def test_pictures_of_another_size_or_grey_are_fitted(pictures: Pictures) -> None:
    target = build()
    large = [render(sample_scenes(7, 8), 40).images[0][:, :30], pictures[0, ..., :1], pictures[1]]
    fitted = fit_pictures(large, size=SIZE, channels=3)
    assert torch.equal(target.encode(large), target.encode(fitted))


def test_words_become_numbers_and_the_end_has_the_largest() -> None:
    numbers = build().tokenize(TEXTS)
    expected = [
        [START, A, RED, CUBE, END], [START, A, CUBE, END], [START, RED, END], [START, END],
        [START, A, UNKNOWN, CUBE, END], [START, CUBE, UNKNOWN, RED, UNKNOWN, END],
        [START, *[RED] * (CONTEXT - 2), END],
    ]  # fmt: skip
    assert numbers.tolist() == [row + [PAD] * (CONTEXT - len(row)) for row in expected]
    assert int(numbers.max()) == END == build().clip.vocab_size - 1


def test_unknown_words_never_fail_and_are_all_alike() -> None:
    target = build()
    odd = ["a zorp cube", "a blick cube", "a 日本語 cube", "a ✨ cube"]
    found = target.encode_text(odd)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, found[:1].expand_as(found), atol=1e-6)
    assert not torch.allclose(found[0], target.encode_text(["a red cube"])[0], atol=1e-3)
    assert torch.isfinite(target.encode_text(["\n\t \x00", "<start><end>", "é" * 500])).all()


def test_byte_pairs_are_open_clips_and_the_folder_is_too(tmp_path: Path) -> None:
    target = build(model=model(context_length=77, vocab_size=49408), words=None)
    assert torch.equal(target.tokenize(TEXTS), open_clip.tokenize(TEXTS))
    target.save_pretrained(tmp_path)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    with torch.no_grad():
        words = theirs.encode_text(tokenizer(TEXTS), normalize=True)
    assert torch.allclose(words, target.encode_text(TEXTS), atol=1e-6)
    again = OpenClipTarget.from_pretrained(tmp_path)
    assert torch.equal(again.encode_text(TEXTS), target.encode_text(TEXTS))


def test_byte_pairs_have_the_length_of_the_models_context() -> None:
    target = build(model=model(vocab_size=49408), words=None)
    assert target.tokenize(TEXTS).shape == (len(TEXTS), CONTEXT)
    assert torch.isfinite(target.encode_text(TEXTS)).all()


def test_impossible_grids_and_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match="a grid of 3 for 4 x 4 patches"):
        build(grid=3)
    with pytest.raises(UsageError, match="a grid of 8"):
        build(grid=8)
    with pytest.raises(UsageError, match="one of pooled, tokens"):
        build(output="token")


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "statistics.safetensors"])
def test_missing_unknown_and_changed_tensors_are_one_error(file: str, tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    tensors = load_tensors(tmp_path / file)
    first = min(tensors)
    whole = "target_" + first if file.startswith("statistics") else "clip." + first
    rest = {name: value for name, value in tensors.items() if name != first}
    broken = {
        f"{whole} is missing": rest,
        "extra is unknown": tensors | {"extra": torch.zeros(1)},
        f"{whole} is \\(9, 9\\) instead of": tensors | {first: torch.zeros(9, 9)},
    }
    for message, found in broken.items():
        save_tensors(tmp_path / file, found)
        with pytest.raises(InputError, match=message) as caught:
            OpenClipTarget.from_pretrained(tmp_path)
        assert caught.value.remedy
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=f"there is no file .*{file}"):
        OpenClipTarget.from_pretrained(tmp_path)


def test_published_models_need_weights_that_can_be_had(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ViT-B-32 without weights"):
        OpenClipTarget.from_open_clip("ViT-B-32")
    missing = f"local-dir:{tmp_path}/no"
    for name, tag in (("ViT-Q-99", "openai"), ("ViT-B-32", "x"), (missing, None)):
        with pytest.raises(AssetError, match="could not be loaded"):
            OpenClipTarget.from_open_clip(name, tag)
    build().save_pretrained(tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    (tmp_path / "statistics.safetensors").unlink()
    with pytest.raises(AssetError, match="could not be loaded"):
        OpenClipTarget.from_open_clip(f"local-dir:{tmp_path}")
