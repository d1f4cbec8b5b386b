"""Encoders and priors of EEG: converted, loaded and compared with the mathematics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_model

CLOSE = {"rtol": 0.0, "atol": 1e-5}


def converted(weights: Any, place: Path, subject: str = "08", **how: Any) -> Any:
    torch.save(weights, place / "weights.pth")
    report = convert_file(place / "weights.pth", place / "model", subjects=[subject], **how)
    model = load_model(str(place / "model"))
    assert model.settings["converted_from"] == report.family
    return model


def encoded(model: Any, made: Any, subject: str = "08") -> tuple[torch.Tensor, torch.Tensor]:
    recording = made.sensor_recording(model, subject)
    prepared = model.preprocessor.transform(recording)
    return model.encoder.encode(prepared).pooled, torch.from_numpy(recording.data)


@pytest.mark.parametrize(
    ("subject", "how"),
    [("08", {}), ("10", {}), ("08", {"legacy_atm_slice": False}), ("03", {"positions": False})],
)
def test_atm(subject: str, how: dict[str, Any], made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.atm_weights()
    model = converted(weights, tmp_path, subject, settings=how)
    found, x = encoded(model, made, subject)
    wanted = maths.atm(
        weights, x, int(subject), legacy=how.get("legacy_atm_slice", True),
        positions=how.get("positions", True),
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_atm_with_its_prior(made: Any, maths: Any, tmp_path: Path) -> None:
    torch.save(made.atm_prior_weights(d=8), tmp_path / "diffusion_prior.pt")
    model = converted(
        made.atm_weights(), tmp_path, beside={"prior": str(tmp_path / "diffusion_prior.pt")}
    )
    assert model.prior.dim == 8
    assert model.generator.entry == "ip-adapter-sdxl-turbo"


def test_atm_written_back(made: Any, tmp_path: Path, cli: Any) -> None:
    weights = made.atm_weights()
    converted(weights, tmp_path)
    path = tmp_path / "again.pth"
    done = cli("convert", tmp_path / "model", "--to", "atm", "--output", path).succeeds()
    assert done.out.splitlines()[-1] == f"checkpoint: {path}"
    cli("convert", tmp_path / "model", "--to", "atm", "--output", path).refuses(2, "exists")
    found = torch.load(path, weights_only=True)
    assert {n: v.shape for n, v in found.items()} == {n: v.shape for n, v in weights.items()}
    unused = ("mask", "temporal", "subject_wise", "position_embedding.pe")
    for name, value in weights.items():
        if not any(one in name for one in unused):
            assert torch.equal(found[name], value), name
    place = "encoder.enc_embedding.position_embedding.pe"
    assert torch.equal(found[place][:, :6], weights[place][:, :6])


@pytest.mark.parametrize("which", ["test0Enc_eeg_cls.pth", "test0Proj_eeg_cls.pth", ""])
def test_nice_from_either_of_its_files(which: str, made: Any, maths: Any, tmp_path: Path) -> None:
    encoder, head = made.nice_weights()
    torch.save(encoder, tmp_path / "test0Enc_eeg_cls.pth")
    torch.save(head, tmp_path / "test0Proj_eeg_cls.pth")
    convert_file(tmp_path / which, tmp_path / "model", subjects=["01"])
    model = load_model(str(tmp_path / "model"))
    assert model.encoder.signal.n_times == 250
    found, x = encoded(model, made, "01")
    wanted = maths.residual_head(head, "", "fn.1", maths.tsconv(encoder, "0.", x, 51, 5))
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_nice_without_its_other_file(made: Any, tmp_path: Path) -> None:
    torch.save(made.nice_weights()[0], tmp_path / "run1Enc_eeg_cls.pth")
    with pytest.raises(UsageError, match=r"run1Proj_eeg_cls\.pth"):
        convert_file(tmp_path / "run1Enc_eeg_cls.pth", tmp_path / "model", subjects=["01"])


def nice_model(encoder: Any, made: Any, place: Path, **settings: Any) -> Any:
    torch.save(encoder, place / "gaEnc_eeg_cls.pth")
    torch.save(made.nice_weights()[1], place / "gaProj_eeg_cls.pth")
    found = place / "gaEnc_eeg_cls.pth"
    report = convert_file(found, place / "model", subjects=["01"], settings=settings)
    return load_model(str(place / "model")), report


@pytest.mark.parametrize("earlier", [False, True])
def test_nice_with_self_attention(earlier: bool, made: Any, maths: Any, tmp_path: Path) -> None:
    """Written with its attention, as published, which sums weights where they sum to one."""
    weights = made.nice_attention_weights()
    model, report = nice_model(made.nice_attention_weights(earlier=earlier), made, tmp_path)
    assert any("changes nothing" in line for line in report.lines)
    found, x = encoded(model, made, "01")
    normed = maths.layer_norm(weights, "0.fn.0", x)

    def layer(name: str, values: torch.Tensor) -> torch.Tensor:
        inner = maths.linear(weights, f"0.fn.1.{name}.0", values.transpose(1, 2))
        return maths.layer_norm(weights, f"0.fn.1.{name}.1", inner).transpose(1, 2)

    scores = torch.einsum("ncs,nms->ncm", layer("query", normed), layer("key", normed)) / 8**0.5
    kept = torch.einsum("ncs,ncm->ncs", normed, scores.softmax(-1))
    signal = x + layer("projection", kept)
    features = maths.tsconv(weights, "1.", signal, 51, 5)
    wanted = maths.residual_head(made.nice_weights()[1], "", "fn.1", features)
    torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize(("linear", "graph"), [("lin", False), ("lin_src", False), ("lin", True)])
def test_nice_with_a_graph(linear: str, graph: bool, made: Any, maths: Any, tmp_path: Path) -> None:
    """Each channel hears itself alone, or with ``graph`` all channels of its trial."""
    weights = made.nice_graph_weights()
    settings = {"graph": True} if graph else {}
    model, _ = nice_model(made.nice_graph_weights(linear=linear), made, tmp_path, **settings)
    found, x = encoded(model, made, "01")
    name = "0.fn.0.conv1."
    h = x @ weights[f"{name}lin.weight"].T
    if graph:
        heard = []
        for trial in h:
            from_, to = (
                trial @ weights[f"{name}att_src"][0, 0],
                trial @ weights[f"{name}att_dst"][0, 0],
            )
            shares = torch.nn.functional.leaky_relu(to[:, None] + from_[None], 0.2).softmax(1)
            heard.append(shares @ trial)
        h = torch.stack(heard)
    features = maths.tsconv(weights, "1.", x + h + weights[f"{name}bias"], 51, 5)
    wanted = maths.residual_head(made.nice_weights()[1], "", "fn.1", features)
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_a_graph_is_asked_of_weights_with_one(made: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="graph=true for NICE"):
        nice_model(made.nice_weights()[0], made, tmp_path, graph=True)


def test_enigma_keeps_the_named_subjects(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.enigma_weights()
    model = converted({"model_state_dict": weights, "epoch": 3}, tmp_path)
    assert model.encoder.subjects == ["08"]
    found, x = encoded(model, made)
    torch.testing.assert_close(found, maths.enigma(weights, x, "08"), **CLOSE)
    with pytest.raises(InputError, match="sub-02 in a file of 01, 08"):
        convert_file(tmp_path / "weights.pth", tmp_path / "other", subjects=["02"])


def test_ubp(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.ubp_weights()
    content = {"state_dict": weights, "epoch": 5, "pytorch-lightning_version": "2.0"}
    model = converted(content, tmp_path)
    found, x = encoded(model, made)
    wanted = maths.residual_head(weights, "brain.model.", "f.1", x.flatten(1))
    torch.testing.assert_close(found, wanted, **CLOSE)
    scale = torch.nn.functional.softplus(weights["brain.logit_scale"])
    torch.testing.assert_close(model.encoder.logit_scale.exp(), scale, **CLOSE)
    with pytest.raises(UsageError, match="no published generator"):
        model.generator.opened()


def test_brain_hive(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.hive_weights()
    save_file(weights, tmp_path / "model.safetensors")
    report = convert_file(tmp_path / "model.safetensors", tmp_path / "model", subjects=["01"])
    assert any("synclr, vae" in line for line in report.lines)
    model = load_model(str(tmp_path / "model"))
    found, x = encoded(model, made, "01")
    torch.testing.assert_close(found, maths.hive(weights, x), **CLOSE)


def test_cognitioncapturer(made: Any, maths: Any, tmp_path: Path) -> None:
    model = converted({"state_dict": made.all_cogcap_weights()}, tmp_path)
    found, x = encoded(model, made)
    torch.testing.assert_close(found, maths.cogcap(made.cogcap_weights(), x), **CLOSE)
    assert any("another target" in one for one in model.settings["left_out"].values())
    with pytest.raises(InputError, match="without attention_model"):
        convert_file(
            tmp_path / "weights.pth", tmp_path / "x", subjects=["01"], settings={"part": "text"}
        )


def test_cognitioncapturer_with_its_prior(made: Any, tmp_path: Path) -> None:
    torch.save(made.atm_prior_weights(d=8), tmp_path / "last.pth")
    content = {"state_dict": made.all_cogcap_weights()}
    model = converted(content, tmp_path, beside={"prior": str(tmp_path / "last.pth")})
    assert (model.prior.dim, model.prior.steps, model.prior.guidance_scale) == (8, 50, 7.5)
    assert model.settings["settings"]["part"] == "img"
    assert any("ten times the features" in quirk for quirk in model.settings["quirks"])


def test_the_prior_of_atm_samples_as_published(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.atm_prior_weights()
    model = converted(weights, tmp_path)
    prior = model.prior
    assert prior.step_noises(50) == 49
    stream = torch.Generator().manual_seed(0)
    told, noise = torch.randn(2, 3, 1, 12, generator=stream)
    more = torch.randn(3, 49, 1, 12, generator=stream)
    with torch.no_grad():
        one = prior.predict(noise[:, 0], torch.full((3,), 980.0), told[:, 0])
        found = prior.denoise(noise, told, more, steps=50, guidance=5.0)
    torch.testing.assert_close(
        one, maths.unet_noise(weights, noise[:, 0], 980.0, told[:, 0]), **CLOSE
    )
    drawn = list(more[:, :, 0].unbind(1))
    wanted = maths.unet_prior(weights, told[:, 0], noise[:, 0], drawn, 50, 5.0)
    torch.testing.assert_close(found[:, 0], wanted, rtol=0, atol=2e-5)
    recording = made.voxel_recording(12, "08")
    assert torch.equal(model.encoder.encode(recording).pooled, torch.from_numpy(recording.data))


def test_sensors_that_tensors_do_not_tell(made: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="n_times"):
        converted(made.ubp_weights(row=77), tmp_path)
    model = converted(made.ubp_weights(row=77), tmp_path, settings={"n_times": 7, "sfreq": 10})
    assert model.encoder.signal.n_chans == 11
    assert model.preprocessor.protocol.info.sfreq == 10
    with pytest.raises(UsageError, match="`set` is 'nonsense'"):
        convert_file(
            tmp_path / "weights.pth", tmp_path / "x", subjects=["08"], settings={"nonsense": 1}
        )
