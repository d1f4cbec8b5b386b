"""Parts can be swapped where they fit; where they do not, it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.generators.target_decoder import TargetDecoder
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.encoder import EncoderConfig, train_encoder
from phosphene.priors.identity import IdentityPrior
from phosphene.types import Recording


@pytest.fixture(scope="module")
def model(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Reconstructor:
    folder, _ = train_encoder(
        EncoderConfig(
            dataset=str(tiny_dataset), subject="01", target="pixels:8x3", voxel_weights="none",
            output=str(tmp_path_factory.mktemp("base") / "model"),
        )
    )  # fmt: skip
    return Reconstructor.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def recording(tiny_dataset: Path) -> Recording:
    dataset = CanonicalDataset.open(tiny_dataset)
    return dataset.recording("01", splits=["validation"]).average("stimulus_id")


def prior(tokens: int, factor: float) -> IdentityPrior:
    made = IdentityPrior(tokens)
    values = torch.randn(8, tokens, 3, generator=torch.Generator().manual_seed(0))
    return made.fit(values, values * factor)


def test_the_same_parts_are_the_same_model(model: Reconstructor, recording: Recording) -> None:
    again = Reconstructor.from_parts(base=model, device="cpu")
    assert again.parts.hash == model.parts.hash
    first, second = (one.reconstruct(recording, subject="01") for one in (model, again))
    assert np.array_equal(first.images, second.images)


def test_a_prior_is_swapped_in_and_out(
    model: Reconstructor, recording: Recording, tmp_path: Path
) -> None:
    changed = Reconstructor.from_parts(base=model, prior=prior(1, 0.2), device="cpu")
    first, second = (one.reconstruct(recording, subject="01") for one in (model, changed))
    assert not np.array_equal(first.images, second.images)
    assert changed.parts.hash != model.parts.hash
    assert second.provenance.model == "assembled"
    again = Reconstructor.from_parts(base=changed, prior=None, device="cpu")
    assert np.array_equal(again.reconstruct(recording, subject="01").images, first.images)
    folder = changed.save_pretrained(tmp_path / "saved")  # and it is a model like any other
    loaded = Reconstructor.from_pretrained(folder, device="cpu")
    assert np.array_equal(loaded.reconstruct(recording, subject="01").images, second.images)


def test_parts_without_a_base(
    model: Reconstructor,
    tiny_dataset: Path,
    recording: Recording,
    tiny_pictures: Pictures,
    tiny_target: OpenClipTarget,
    tiny_latents: LatentTarget,
    tiny_generator: LatentDiffusion,
) -> None:
    """A whole decoder with a low-level branch; its strength is chosen when it is put together."""
    train = CanonicalDataset.open(tiny_dataset).recording("01", splits=["train"])
    prepared = model.parts.preprocessor.transform(train)
    rows = train.trials["stimulus_id"].astype(int).to_numpy()
    tokens, latents = RidgeEncoder(), RidgeEncoder()
    tokens.fit(prepared, tiny_target.encode(tiny_pictures[rows]))
    latents.fit(prepared, tiny_latents.encode(tiny_pictures[rows]))
    parts = {
        "encoder": tokens, "target": tiny_target, "preprocessor": model.parts.preprocessor,
        "protocol": model.parts.protocol, "generator": tiny_generator,
    }  # fmt: skip
    plain = Reconstructor.from_parts(**parts, device="cpu")
    started = Reconstructor.from_parts(**parts, structure=latents, strength=0.0, device="cpu")
    assert started.parts.branch is not None
    assert plain.strength == 1
    found = started.reconstruct(recording, subject="01")
    decoded = tiny_latents.decode(started.embed(recording).lowlevel)  # type: ignore[arg-type]
    wanted = (decoded * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(found.images[:, 0].astype(float) - wanted).max() <= 1
    assert not np.array_equal(found.images, plain.reconstruct(recording, subject="01").images)


def test_parts_that_do_not_fit_are_told(
    model: Reconstructor, tiny_generator: LatentDiffusion, tiny_target: OpenClipTarget
) -> None:
    with pytest.raises(InputError, match="the generator latent-diffusion renders embeddings of"):
        Reconstructor.from_parts(base=model, generator=tiny_generator)
    other = PixelTarget(4, 3)
    with pytest.raises(InputError, match=r"the encoder ridge predicts the shape"):
        Reconstructor.from_parts(base=model, target=other, generator=TargetDecoder(other))
    with pytest.raises(UsageError, match="a decoder without encoder, preprocessor, protocol"):
        Reconstructor.from_parts(target=tiny_target, generator=tiny_generator)
    with pytest.raises(UsageError, match="encoder=None"):
        Reconstructor.from_parts(base=model, encoder=None)
    with pytest.raises(UsageError, match="did you mean 'prior'"):
        Reconstructor.from_parts(base=model, prio=None)
