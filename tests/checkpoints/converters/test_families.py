"""What all families share: recognition, sizes, targets, other files; and two small families."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from phosphene.checkpoints.converters import FAMILIES
from phosphene.checkpoints.converters.convert import convert_file, family_names, recognise
from phosphene.checkpoints.converters.unconvertible import UNCONVERTIBLE, recognised_as
from phosphene.encoders.brain.electric.atm import ATMEncoder
from phosphene.encoders.brain.electric.enigma import EnigmaEncoder
from phosphene.encoders.brain.electric.flat_mlp import FlatMLPEncoder
from phosphene.encoders.brain.electric.tsconv import TSConvEncoder
from phosphene.encoders.brain.published.feature_mlp import FeatureMLP
from phosphene.encoders.brain.published.hive_mlp import HiveMLP
from phosphene.encoders.brain.published.mindeye1_latents import MindEye1Latents
from phosphene.encoders.brain.published.nice_variant import NICEVariant
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.generators.expected import Wanted, check_target
from phosphene.pipelines.model_folder import load_model

ASKED = {
    "auto", "mindeye1", "mindeye2", "atm", "atm-prior", "nice", "ubp", "brain-hive", "enigma",
    "brainflora", "neuroclips", "neurons", "mind-animator", "mindbridge", "umbrae",
    "brain-diffuser", "brain-it", "tben", "ip-adapter-prior",
}  # fmt: skip


def samples(made: Any) -> dict[str, dict[str, torch.Tensor]]:
    clip = made.mindeye2_weights(lowlevel=False)
    return {
        "mindeye1": made.mindeye1_weights(),
        "mindeye2": made.mindeye2_weights(),
        "atm": made.atm_weights(),
        "atm-prior": made.atm_prior_weights(),
        "nice": made.nice_weights()[0],
        "ubp": made.ubp_weights(),
        "brain-hive": made.hive_weights(),
        "enigma": made.enigma_weights(),
        "brain-it": made.bit_weights(),
        "neuroclips": clip | {"clipproj.proj": torch.zeros(16, 4)},
        "neurons": clip | {"motion_proj.motion_proj.weight": torch.zeros(2)},
        "cognitioncapturer": made.all_cogcap_weights(),
        "eeg2video": made.eeg2video_weights(),
        "brain-diffuser": {"weight": torch.zeros(3, 4, 5), "bias": torch.zeros(3, 4)},
        "tben": {
            name: torch.zeros(2, 2)
            for name in ("query_embed.weight", "lh_embed.0.weight", "rh_embed.0.weight")
        },
        "brainflora": {
            "encoder.enc_embedding.value_embeddings.0.tokenConv.weight": torch.zeros(4, 1, 3, 2)
        },
    }


def test_every_name_is_taken() -> None:
    assert set(family_names()) >= ASKED
    assert not set(FAMILIES.names()) & set(UNCONVERTIBLE)


def test_each_family_is_recognised_by_itself_alone(made: Any) -> None:
    found = samples(made)
    for name, weights in found.items():
        shapes = {key: tuple(value.shape) for key, value in weights.items()}
        assert recognise(shapes, Path("x.pkl")).name == name
    layer = {"weight": (3, 4), "bias": (3,)}
    with pytest.raises(InputError, match="no family"):
        recognise(layer, Path("layer.pth"))
    for name in FAMILIES.names():
        family: Any = FAMILIES.get(name)
        assert family.title
        assert family.paper
        assert family.source
        assert family.licence


def test_another_family_than_the_named_one(made: Any, tmp_path: Path) -> None:
    torch.save(made.atm_weights(), tmp_path / "atm.pth")
    for name in set(FAMILIES.names()) - {"atm", "nice"}:
        with pytest.raises((InputError, UsageError)):
            convert_file(tmp_path / "atm.pth", tmp_path / "x", subjects=["01"], family=name)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", sorted(UNCONVERTIBLE))
def test_what_does_not_convert_says_why(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not convertible, because"):
        convert_file(tmp_path / "none", tmp_path / "x", subjects=["01"], family=name)


def test_some_of_it_is_recognised(tmp_path: Path) -> None:
    weights = {
        "image_proj.proj.weight": torch.zeros(2),
        "ip_adapter.1.to_k_ip.weight": torch.zeros(2),
    }
    assert recognised_as(weights) == "ip-adapter-prior"
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(InputError, match="ip-adapter-prior: not convertible"):
        convert_file(tmp_path / "x.pth", tmp_path / "model", subjects=["01"])


def test_wrong_use(made: Any, tmp_path: Path) -> None:
    torch.save(made.ubp_weights(), tmp_path / "x.ckpt")
    for more, words in (
        ({"subjects": []}, "no subject"),
        ({"subjects": ["01", "01"]}, "each label once"),
        ({"subjects": ["01"], "family": "mindeye3"}, "did you mean"),
        ({"subjects": ["01"], "corrected": True}, "corrected form of ubp"),
        ({"subjects": ["01"], "beside": {"prior": "x"}}, "`with` is 'prior'"),
    ):
        with pytest.raises(UsageError, match=words):
            convert_file(tmp_path / "x.ckpt", tmp_path / "model", **more)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        convert_file(tmp_path / "x.ckpt", tmp_path / "model", subjects=["01"])


def test_a_half_converted_folder_is_refused(made: Any, tmp_path: Path) -> None:
    torch.save(made.ubp_weights(), tmp_path / "x.ckpt")
    convert_file(tmp_path / "x.ckpt", tmp_path / "model", subjects=["01"])
    (tmp_path / "model" / "protocol.json").unlink()
    with pytest.raises(InputError, match=r"protocol\.json"):
        load_model(str(tmp_path / "model"))
    (tmp_path / "model" / "model_index.json").unlink()
    with pytest.raises(InputError, match="not a model folder"):
        load_model(str(tmp_path / "model"))


def test_the_card_says_what_is_known(made: Any, tmp_path: Path) -> None:
    torch.save(made.mindeye2_weights(), tmp_path / "last.pth")
    convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["01"])
    card = (tmp_path / "model" / "README.md").read_text()
    for words in ("arXiv 2403.11207", "pscotti/mindeyev2", "axis of length one", "19 calls",
                  "nsdgeneral", "recomputed"):  # fmt: skip
        assert words in card


def count(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def test_published_sizes() -> None:
    """Full-size configurations; one number of each is the temperature."""
    words = {"n_chans": 63, "n_times": 250, "sfreq": 250.0}
    small = {"n_chans": 17, "n_times": 250, "sfreq": 250.0}
    with torch.device("meta"):
        # 3,202,413 in the file, of which 127,000 are never called.
        assert count(ATMEncoder(faithful=True, **words)) == 3_202_413 - 127_000
        assert count(TSConvEncoder(n_outputs=768, **words)) == 1_802_497
        assert count(TSConvEncoder(**words).tsconv) == 103_680
        assert count(EnigmaEncoder(subjects=["01"], unknown="mean", **words)) == 1_405_243
        assert count(FlatMLPEncoder(**small)) == 5_404_673
        assert count(FlatMLPEncoder(n_chans=271, n_times=201)) == 56_830_977
        assert count(HiveMLP(**small)) == 6_452_225
        # What is added to NICE: a map over channels and two norms, or a map over samples.
        over_channels = 2 * 250 + 63 * 64 + 2 * 63
        nice = {"n_outputs": 768, **words}
        assert count(NICEVariant(over="channels", **nice)) == 1_802_497 + over_channels
        assert count(NICEVariant(over="samples", **nice)) == 1_802_497 + 250 * 251
        assert count(FeatureMLP({"01": 310}, {"tokens": [77, 768]})) == 894_559_136
        low = MindEye1Latents({"01": 15_724}, {"lowlevel": [4, 64, 64]})
        assert count(low.upsampler) == 6_841_668


def test_a_generator_of_other_embeddings_is_refused() -> None:
    from phosphene.checkpoints.registry import find_generator

    found = find_generator("sdxl-unclip")
    assert found is not None
    published, wanted = found[1].embedding, Wanted("patches", 1664)
    right = PublishedTarget(
        "ViT-bigG-14", "laion2b_s39b_b160k", "patches", [256, 1664], colours="mindeye2"
    )
    check_target("sdxl-unclip", wanted, published, right)
    for change in (
        {"colours": "clip"}, {"model": "ViT-H-14"}, {"weights": "openai"}, {"output": "tokens"},
        {"shape": [257, 1664]}, {"shape": [256, 1280]},
    ):  # fmt: skip
        other = PublishedTarget(**{**right.config, **change})
        with pytest.raises(InputError, match="for the generator sdxl-unclip"):
            check_target("sdxl-unclip", wanted, published, other)
    with pytest.raises(AssetError, match="without the network"):
        right.encode([])


def test_brain_diffuser_from_a_pickle_of_arrays(made: Any, tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    weight, bias = stream.standard_normal((3, 4, 23)), stream.standard_normal((3, 4))
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"weight": weight, "bias": bias}))
    convert_file(tmp_path / "w.pkl", tmp_path / "model", subjects=["01"])
    model, recording = load_model(str(tmp_path / "model")), made.voxel_recording(23)
    wanted = np.einsum("tdv,nv->ntd", weight, recording.data) + bias
    found = model.encoder.encode(recording).tokens
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5)
    assert model.generator.entry == "versatile"
    (tmp_path / "row.pkl").write_bytes(pickle.dumps({"weight": weight[0], "bias": bias[0]}))
    convert_file(tmp_path / "row.pkl", tmp_path / "row", subjects=["01"])
    found = load_model(str(tmp_path / "row")).encoder.encode(recording).pooled
    np.testing.assert_allclose(found.numpy(), wanted[:, 0], rtol=0, atol=1e-5)


def test_neuroclips_keyframes(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.mindeye2_weights(lowlevel=False)
    content = {"model_state_dict": weights | {"clipproj.proj": torch.zeros(16, 4)}}
    torch.save(content, tmp_path / "video_subj01_SR.pth")
    report = convert_file(tmp_path / "video_subj01_SR.pth", tmp_path / "model", subjects=["01"])
    assert any("clipproj.proj" in line for line in report.lines)
    model, recording = load_model(str(tmp_path / "model")), made.voxel_recording(23)
    wanted = maths.mindeye2(weights, torch.from_numpy(recording.data))["retrieval"]
    torch.testing.assert_close(model.encoder.encode(recording).tokens, wanted, rtol=0, atol=1e-5)
    assert model.prior is not None
    assert model.prior.network_calls() == 19
    assert "CC2017" in model.protocol.dataset


def test_keyframes_of_neurons(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.mindeye2_weights(lowlevel=False)
    heads = {
        "motion_proj.motion_proj.weight": torch.zeros(2),
        "classifier.classifier.bias": torch.zeros(51),
    }
    torch.save({"model_state_dict": weights | heads}, tmp_path / "brain_model_prior_last.pth")
    convert_file(tmp_path / "brain_model_prior_last.pth", tmp_path / "model", subjects=["01"])
    model, recording = load_model(str(tmp_path / "model")), made.voxel_recording(23)
    wanted = maths.mindeye2(weights, torch.from_numpy(recording.data))["retrieval"]
    torch.testing.assert_close(model.encoder.encode(recording).tokens, wanted, rtol=0, atol=1e-5)
    assert model.prior is not None
    assert model.prior.network_calls() == 100


def test_the_semantic_predictor_of_eeg2video(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.eeg2video_weights()
    torch.save({"state_dict": weights}, tmp_path / "semantic.pt")
    convert_file(
        tmp_path / "semantic.pt", tmp_path / "model", subjects=["01"], settings={"tokens": 7}
    )
    model, recording = load_model(str(tmp_path / "model")), made.voxel_recording(10)
    x = torch.from_numpy(recording.data)
    for place in (0, 2, 4, 6, 8):
        x = maths.linear(weights, f"mlp.{place}", x)
        x = x if place == 8 else x.clamp_min(0)
    found = model.encoder.encode(recording).tokens
    torch.testing.assert_close(found, x.unflatten(1, (7, 3)), rtol=0, atol=1e-5)
