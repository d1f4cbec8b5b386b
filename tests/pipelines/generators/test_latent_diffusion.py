"""Latent diffusion on tiny random parts of diffusers: seeds, batches, strength, saving."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion, extend_unet
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.latent_diffusion import (
    Objective,
    train_latent_diffusion,
    tune_latent_diffusion,
)
from phosphene.types import BrainEmbedding


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(10 + row) for row in range(n)]


@pytest.fixture
def tokens(tiny_target: OpenClipTarget, tiny_pictures: Pictures) -> torch.Tensor:
    return tiny_target.encode(tiny_pictures[:5])


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_batch_equals_one_at_a_time_in_any_order(
    tiny_generators: LatentDiffusion, tokens: torch.Tensor, strength: float
) -> None:
    init = torch.randn(
        5, *tiny_generators.latents.shape, generator=torch.Generator().manual_seed(0)
    )

    def render(rows: list[int]) -> torch.Tensor:
        pictures = tiny_generators.generate(
            BrainEmbedding(tokens=tokens[rows]),
            init=init[rows] if strength < 1 else None,
            strength=strength,
            generators=[streams(5)[row] for row in rows],
            output_type="pt",
        )
        assert isinstance(pictures, torch.Tensor)
        return pictures

    together = render([0, 1, 2, 3, 4])
    assert torch.equal(render([3])[0], together[3])
    assert torch.equal(render([4, 0, 2]), together[[4, 0, 2]])


def test_items_do_not_mix_within_a_batch(
    tiny_generators: LatentDiffusion, tokens: torch.Tensor
) -> None:
    other = tokens.clone()
    other[1] += 5
    first, second = (
        np.asarray(
            tiny_generators.generate(BrainEmbedding(tokens=values), generators=streams(5)),
            dtype=int,
        )
        for values in (tokens, other)
    )
    assert (first[1] != second[1]).any()
    assert (first[[0, 2, 3, 4]] == second[[0, 2, 3, 4]]).all()


def test_a_map_of_tokens_tells_where_each_belongs(
    tiny_generators: LatentDiffusion, tokens: torch.Tensor
) -> None:
    exchanged = tokens[:, [3, 1, 2, 0]]
    first, second = (
        np.asarray(tiny_generators.generate(BrainEmbedding(tokens=one), generators=streams(5)))
        for one in (tokens, exchanged)
    )
    with_map = tiny_generators.unet.config.in_channels > 2
    assert (np.abs(first.astype(int) - second).max() > 1) == with_map


def test_strength_0_returns_the_init_and_1_ignores_it(
    tiny_generator: LatentDiffusion, tokens: torch.Tensor, tiny_pictures: Pictures
) -> None:
    given = BrainEmbedding(tokens=tokens)
    init = tiny_generator.latents.encode(tiny_pictures[:5])
    kept = tiny_generator.generate(
        given, init=init, strength=0, generators=streams(5), output_type="pt"
    )
    assert isinstance(kept, torch.Tensor)
    assert torch.equal(kept, tiny_generator.latents.decode(init))
    ignored = tiny_generator.generate(given, init=init, strength=1, generators=streams(5))
    free = tiny_generator.generate(given, generators=streams(5))
    assert np.array_equal(np.asarray(ignored), np.asarray(free))


def test_pictures_serve_as_init_too(
    tiny_generator: LatentDiffusion, tokens: torch.Tensor, tiny_pictures: Pictures
) -> None:
    shown = torch.from_numpy(tiny_pictures[:5]).permute(0, 3, 1, 2) / 255
    latents = tiny_generator.latents.encode(tiny_pictures[:5])
    found = [
        np.asarray(
            tiny_generator.generate(
                BrainEmbedding(tokens=tokens), init=init, strength=0.5, generators=streams(5)
            ),
            dtype=int,
        )
        for init in (shown, latents)
    ]
    assert np.abs(found[0] - found[1]).max() <= 1


def test_save_and_load_are_exact(
    tiny_generator: LatentDiffusion,
    tiny_target: OpenClipTarget,
    tokens: torch.Tensor,
    tmp_path: Path,
) -> None:
    tiny_generator.save(tmp_path)
    again = LatentDiffusion.load(tmp_path, tiny_target)
    given = BrainEmbedding(tokens=tokens)
    first, second = (g.generate(given, generators=streams(5)) for g in (tiny_generator, again))
    assert np.array_equal(np.asarray(first), np.asarray(second))
    assert (again.steps, again.guidance_scale) == (4, tiny_generator.guidance_scale)


def test_another_target_is_refused(tiny_generator: LatentDiffusion, tmp_path: Path) -> None:
    tiny_generator.save(tmp_path)
    with pytest.raises(InputError, match="renders embeddings of"):
        LatentDiffusion.load(tmp_path, PixelTarget(8, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 0.5}, "without a picture to start from"),
        ({"strength": 1.5}, "from 0 to 1"),
        ({"num_inference_steps": 0}, "at least one step"),
        ({"init": torch.zeros(5, 1, 2, 2), "strength": 0.5}, "an init of shape"),
    ],
)
def test_wrong_use_is_one_message(
    tiny_generator: LatentDiffusion,
    tokens: torch.Tensor,
    arguments: dict[str, object],
    message: str,
) -> None:
    with pytest.raises((UsageError, InputError), match=message):
        tiny_generator.generate(
            BrainEmbedding(tokens=tokens),
            generators=streams(5),
            **arguments,  # type: ignore[arg-type]
        )


def test_training_lowers_the_watched_loss(
    tiny_target: OpenClipTarget,
    tiny_latents: LatentTarget,
    tiny_pictures: Pictures,
    tmp_path: Path,
) -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=2, out_channels=2, layers_per_block=1,
        block_out_channels=(16, 16), cross_attention_dim=16, attention_head_dim=4,
        norm_num_groups=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = LatentDiffusion(unet, tiny_latents, condition=tiny_target.spec.hash)
    latents, tokens = tiny_latents.encode(tiny_pictures), tiny_target.encode(tiny_pictures)
    watched = {"latent": latents[-8:], "token": tokens[-8:]}
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        untrained = float(Objective(made)(unet, watched, noise, 1.0)["loss"])
    result = train_latent_diffusion(
        made,
        latents,
        tokens,
        EngineConfig(epochs=24, batch_size=8, learning_rate=3e-3),
        folder=tmp_path,
        held_out=8,
    )
    losses = [row["validation"] for row in result.history]
    assert min(losses) < 0.8 * untrained


def test_a_pooled_embedding_is_tuned_on_as_one_token(
    tiny_generator: LatentDiffusion, tiny_pictures: Pictures, tmp_path: Path
) -> None:
    """Else rows of a batch would become tokens of each other."""
    latents = tiny_generator.latents.encode(tiny_pictures[:8])
    noise = torch.Generator().manual_seed(0)
    pooled, features = (torch.randn(2, 8, size, generator=noise) for size in (16, 7))
    weights = []
    for name, values in (("pooled", pooled), ("tokens", pooled[:, :, None])):
        made = copy.deepcopy(tiny_generator)
        truth, decoded = (
            BrainEmbedding(**{name: rows}, lowlevel=latents, features=more)
            for rows, more in zip(values, features, strict=True)
        )
        tune_latent_diffusion(
            made, truth, decoded, EngineConfig(epochs=1, batch_size=4),
            folder=tmp_path / name, held_out=4,
        )  # fmt: skip
        weights.append(made.unet.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_network_that_is_extended_ignores_what_it_does_not_know_yet(
    tiny_generators: LatentDiffusion, tokens: torch.Tensor
) -> None:
    latents = tiny_generators.latents
    extended = LatentDiffusion(
        extend_unet(tiny_generators.unet, 7),
        latents,
        condition=tiny_generators.condition,
        steps=tiny_generators.steps,
        guidance_scale=tiny_generators.guidance_scale,
    )
    more = BrainEmbedding(tokens=tokens, features=torch.randn(5, 7))
    before, after = (
        generator.generate(condition, generators=streams(5))
        for generator, condition in (
            (tiny_generators, BrainEmbedding(tokens=tokens)),
            (extended, more),
        )
    )
    np.testing.assert_array_equal(before, after)
    with torch.no_grad():
        extended.unet.class_embedding.weight.normal_()
    alone = extended.generate(BrainEmbedding(tokens=tokens), generators=streams(5))
    assert (extended.generate(more, generators=streams(5)) != alone).any()
