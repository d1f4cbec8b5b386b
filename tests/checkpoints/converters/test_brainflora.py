"""BrainFLORA: published names, and what its networks compute, from plain functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.encoders.brain.published.medformer import MedformerEncoder, MedformerVoxels
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_model

CLOSE = {"rtol": 0.0, "atol": 1e-5}
Weights = dict[str, Tensor]
PATCHES = (2, 4, 8)


def tokens_of(n_times: int) -> int:
    return sum(n_times // length + 1 for length in PATCHES)


def encoder_shapes(
    made: Any, channels: int, times: int, n: int, z: int, f: int, hidden: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one encoder, as its class registers them."""
    e, layer, inner = "encoder.enc_embedding.", "encoder.encoder.attn_layers.0.", n // 4 * 4
    shapes: dict[str, tuple[int, ...]] = {
        f"{e}position_embedding.pe": (1, 5000, n), "logit_scale": (),
        f"{layer}conv1.weight": (hidden, n, 1), f"{layer}conv1.bias": (hidden,),
        f"{layer}conv2.weight": (n, hidden, 1), f"{layer}conv2.bias": (n,),
        "encoder.projection.weight": (n, n * tokens_of(times)), "encoder.projection.bias": (n,),
    }  # fmt: skip
    names = [f"{layer}attention.intra_attentions.{number}" for number in range(3)]
    for number, length in enumerate(PATCHES):
        shapes[f"{e}value_embeddings.{number}.tokenConv.weight"] = (n, 1, channels, length)
        shapes[f"{e}learnable_embeddings.{number}"] = (1, n)
    for name in (*names, f"{layer}attention.inter_attention"):
        for part in ("query", "key", "value"):
            shapes[f"{name}.{part}_projection.weight"] = (inner, n)
            shapes[f"{name}.{part}_projection.bias"] = (inner,)
        shapes[f"{name}.out_projection.weight"] = (n, inner)
        shapes[f"{name}.out_projection.bias"] = (n,)
    for name in (f"{layer}norm1", f"{layer}norm2", "encoder.encoder.norm"):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (n,)
    for number in range(10):
        shapes[f"subject_wise_linear.{number}.weight"] = (n, n)
        shapes[f"subject_wise_linear.{number}.bias"] = (n,)
    frames = (n - 25 + 1 - 51) // 5 + 1
    shapes |= made.tsconv_shapes("enc_eeg.0.", tokens_of(times), f, 25, f)
    return shapes | made.head_shapes("proj_eeg.", "fn.1", frames * f, z)


def encoder_weights(made: Any, channels: int = 5, times: int = 21, seed: int = 40) -> Weights:
    shapes = encoder_shapes(made, channels, times, n=82, z=8, f=4, hidden=12)
    weights: Weights = made.electric_weights(shapes, seed=seed)
    return weights


def voxel_weights(made: Any, padded: int = 30) -> Weights:
    stream = torch.Generator().manual_seed(3)
    return encoder_weights(made, channels=3, times=20, seed=41) | {
        "proj_fmri.weight": torch.randn(60, padded, generator=stream) / 5,
        "proj_fmri.bias": torch.randn(60, generator=stream),
    }


def mixture_weights(made: Any) -> Weights:
    shapes = {
        "experts.weight": (5 * 8, 8), "experts.bias": (5 * 8,), "router.0.weight": (16, 8),
        "router.0.bias": (16,), "router.2.weight": (5, 16), "router.2.bias": (5,),
    }  # fmt: skip
    weights = {
        f"moe_projection.{name}": value
        for name, value in made.random_weights(shapes, seed=42).items()
    }
    weights["logit_scale"] = torch.tensor(1.5)
    every = {"eeg": encoder_weights(made), "meg": encoder_weights(made, 4, 13), "fmri": None}
    every["fmri"] = voxel_weights(made)
    for part, own in every.items():
        assert own is not None
        weights |= {f"encoder.{part}.{name}": value for name, value in own.items()}
    return weights


def attention(maths: Any, w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Four heads, each over its own numbers, one after the other."""
    q, k, v = (maths.linear(w, f"{name}.{one}_projection", x) for one in ("query", "key", "value"))
    wide = q.shape[-1] // 4
    heads = []
    for head in range(4):
        own = slice(head * wide, (head + 1) * wide)
        found = maths.softmax_attention(q[..., own], k[..., own], v[..., own], 1 / math.sqrt(wide))
        heads.append(found)
    return maths.linear(w, f"{name}.out_projection", torch.cat(heads, -1))


def encoded(maths: Any, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """What an encoder computes at test, patch by patch."""
    e, layer = "encoder.enc_embedding.", "encoder.encoder.attn_layers.0."
    groups = []
    for number, length in enumerate(PATCHES):
        longer = torch.cat([x, x[..., -1:].repeat(1, 1, length)], -1)
        kernel = w[f"{e}value_embeddings.{number}.tokenConv.weight"][:, 0]
        tokens = torch.stack(
            [
                torch.einsum("ncp,dcp->nd", longer[..., at : at + length], kernel)
                for at in range(0, longer.shape[-1] - length + 1, length)
            ],
            1,
        )
        places = w[f"{e}position_embedding.pe"][0, : tokens.shape[1]]
        groups.append(tokens + w[f"{e}learnable_embeddings.{number}"] + places)
    mixed = [
        attention(maths, w, f"{layer}attention.intra_attentions.{number}", tokens)
        for number, tokens in enumerate(groups)
    ]
    last = torch.stack([tokens[:, -1] for tokens in mixed], 1)
    last = attention(maths, w, f"{layer}attention.inter_attention", last)
    out = []
    for number, (tokens, own) in enumerate(zip(groups, mixed, strict=True)):
        own = own.clone()
        own[:, -1] = last[:, number]
        y = maths.layer_norm(w, f"{layer}norm1", tokens + own)
        hidden = maths.gelu(y @ w[f"{layer}conv1.weight"][..., 0].T + w[f"{layer}conv1.bias"])
        hidden = hidden @ w[f"{layer}conv2.weight"][..., 0].T + w[f"{layer}conv2.bias"]
        out.append(maths.layer_norm(w, f"{layer}norm2", y + hidden))
    signal = maths.gelu(maths.layer_norm(w, "encoder.encoder.norm", torch.cat(out, 1)))
    features = maths.tsconv(w, "enc_eeg.0.", signal, 51, 5)
    found: Tensor = maths.residual_head(w, "proj_eeg.", "fn.1", features)
    return found


def from_voxels(maths: Any, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    filled = torch.cat([x, torch.zeros(len(x), w["proj_fmri.weight"].shape[1] - x.shape[1])], 1)
    return encoded(maths, w, maths.linear(w, "proj_fmri", filled).reshape(len(x), 3, 20))


def mixed(maths: Any, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    hidden = maths.linear(w, "moe_projection.router.0", x).clamp_min(0)
    shares = torch.sigmoid(maths.linear(w, "moe_projection.router.2", hidden))
    told = maths.linear(w, "moe_projection.experts", x).split(8, dim=1)
    return sum(shares[:, i : i + 1] * told[i] for i in range(5)) / shares.sum(1, keepdim=True)


def model_of(weights: Weights, place: Path, subject: str = "01", **how: Any) -> Any:
    torch.save(weights, place / "x.pth")
    report = convert_file(place / "x.pth", place / "model", subjects=[subject], **how)
    assert report.family == "brainflora"
    return load_model(str(place / "model"))


def prediction(model: Any, made: Any) -> tuple[Tensor, Tensor]:
    recording = made.sensor_recording(model, "01")
    prepared = model.preprocessor.transform(recording)
    return model.encoder.encode(prepared).pooled, torch.from_numpy(recording.data)


def test_an_encoder_of_eeg(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = encoder_weights(made)
    model = model_of(weights, tmp_path, settings={"n_times": 21})
    found, x = prediction(model, made)
    torch.testing.assert_close(found, encoded(maths, weights, x), **CLOSE)
    assert model.generator.entry == "ip-adapter-sdxl-turbo"
    model.encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(x[1:2]), found[1:2], **CLOSE)


def test_the_window_is_found_by_the_number_of_tokens(made: Any, tmp_path: Path) -> None:
    """250 samples are 221 tokens, 201 are 178, as the published networks have."""
    assert (tokens_of(250), tokens_of(201), tokens_of(1024)) == (221, 178, 899)
    for times, rate in ((250, 250.0), (201, 200.0)):
        weights = encoder_weights(made, channels=3, times=times)
        (tmp_path / str(times)).mkdir()
        model = model_of(weights, tmp_path / str(times))
        assert (model.encoder.signal.n_times, model.encoder.signal.sfreq) == (times, rate)


def test_an_encoder_of_fmri(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = voxel_weights(made)
    model = model_of(weights, tmp_path, subject="07", settings={"voxels": 23})
    recording = made.voxel_recording(23, subject="07")
    found = model.encoder.encode(recording).pooled
    wanted = from_voxels(maths, weights, torch.from_numpy(recording.data))
    torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize("part", ["eeg", "meg", "fmri"])
def test_the_mixture(part: str, made: Any, maths: Any, tmp_path: Path) -> None:
    weights = mixture_weights(made)
    own = {
        name.removeprefix(f"encoder.{part}."): value
        for name, value in weights.items()
        if name.startswith(f"encoder.{part}.")
    }
    settings: dict[str, Any] = {"part": part}
    if part == "fmri":
        model = model_of(weights, tmp_path, subject="07", settings={**settings, "voxels": 23})
        recording = made.voxel_recording(23, subject="07")
        found = model.encoder.encode(recording).pooled
        alone = from_voxels(maths, own, torch.from_numpy(recording.data))
    else:
        times = {"eeg": 21, "meg": 13}[part]
        model = model_of(weights, tmp_path, settings={**settings, "n_times": times})
        found, x = prediction(model, made)
        alone = encoded(maths, own, x)
        assert model.encoder.logit_scale.item() == 1.5
    torch.testing.assert_close(found, mixed(maths, weights, alone), **CLOSE)


def test_with_its_prior(made: Any, tmp_path: Path) -> None:
    torch.save(made.atm_prior_weights(d=8), tmp_path / "prior.pth")
    settings = {"n_times": 21}
    beside = {"prior": str(tmp_path / "prior.pth")}
    model = model_of(encoder_weights(made), tmp_path, settings=settings, beside=beside)
    assert (model.prior.steps, model.prior.guidance_scale) == (10, 2.0)


def test_what_does_not_fit(made: Any, tmp_path: Path) -> None:
    weights = encoder_weights(made)
    with pytest.raises(InputError, match=r"tokens, where 99 samples"):
        model_of(weights, tmp_path, settings={"n_times": 99})
    with pytest.raises(InputError, match="heads"):
        model_of(weights, tmp_path, settings={"heads": 3})
    with pytest.raises(UsageError, match="file of one encoder"):
        model_of(weights, tmp_path, settings={"part": "eeg"})
    with pytest.raises(UsageError, match="how many voxels subject 09"):
        model_of(voxel_weights(made), tmp_path, subject="09")
    with pytest.raises(InputError, match="6036 voxels for weights of 30"):
        model_of(voxel_weights(made), tmp_path)
    with pytest.raises(InputError, match="THINGS-fMRI subject 02"):
        model_of(voxel_weights(made, padded=7000), tmp_path, settings={"voxels": 5944})
    captions = mixture_weights(made) | {"moe_projection.upsample.weight": torch.zeros(256, 1)}
    with pytest.raises(InputError, match="Shikra"):
        model_of(captions, tmp_path)
    assert not (tmp_path / "model").exists()


def numbers(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Parameters among published names: neither buffers nor what is never called."""
    left = ("encoder.projection.", "subject_wise_linear.", "encoder.enc_embedding.position")
    return sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if not name.startswith(left) and "running" not in name and "batches" not in name
    )


def test_published_sizes(made: Any) -> None:
    def count(module: nn.Module) -> int:
        return sum(one.numel() for one in module.parameters())

    full = {"n": 250, "z": 1024, "f": 40, "hidden": 256}
    with torch.device("meta"):
        for channels, times, total in ((63, 250, 4_230_945), (271, 201, 4_890_145)):
            shapes = encoder_shapes(made, channels, times, **full)
            mine = count(MedformerEncoder(n_chans=channels, n_times=times, sfreq=250.0))
            assert mine == numbers(shapes) == total
        shapes = encoder_shapes(made, 8, 1024, **full)
        voxels = MedformerVoxels({"01": 6036}, {"pooled": [1024]})
        # One number, the temperature, has no place in an encoder of voxels.
        assert count(voxels) == numbers(shapes) - 1 + 7000 * 8192 + 8192
        both = MedformerEncoder(n_chans=63, n_times=250, sfreq=250.0, experts=5)
        alone = MedformerEncoder(n_chans=63, n_times=250, sfreq=250.0)
        experts = 5 * 1024 * 1025 + 2048 * 1025 + 5 * 2049
        assert count(both) - count(alone) == experts
