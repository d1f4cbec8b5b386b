"""What is reported of a decoder is of the way it renders."""

from __future__ import annotations

from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.rendering import Rendering
from phosphene.pipelines.training.selection import Score, score_of


def test_figures_are_of_the_way_that_is_kept_though_another_did_better(
    tiny_generator: LatentDiffusion,
) -> None:
    own = tiny_generator.guidance_scale
    scores = [
        Score("none", 1.0, 0.9, 0.9, guidance_scale=own + 1),
        Score("none", 0.5, 0.8, 0.8, guidance_scale=own),
        Score("none", 1.0, 0.6, 0.6, guidance_scale=own),
        Score("none", 1.0, 0.7, 0.7, guidance_scale=own, blur=2.0),
    ]
    assert score_of(Rendering(tiny_generator), scores) is scores[2]
    assert score_of(Rendering(tiny_generator, strength=0.5), scores) is scores[1]
