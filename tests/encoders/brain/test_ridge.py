import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.ridge import ALPHAS, RidgeEncoder
from phosphene.errors import InputError, UsageError
from phosphene.storage import load_tensors, save_tensors
from phosphene.trials import complete_trials
from phosphene.types import Recording

N_PICTURES, N_VOXELS = 14, 37


def make_recording(subject="01", n_voxels=N_VOXELS, repeats=2, seed=0, modality="fmri"):
    """Trials in shuffled order, each picture shown in every session; linear in the pictures."""
    rng = np.random.default_rng(seed)
    pictures = np.tile(np.arange(N_PICTURES), repeats)
    sessions = np.repeat(np.arange(repeats), N_PICTURES)
    order = rng.permutation(len(pictures))
    pictures, sessions = pictures[order], sessions[order]
    hidden = np.random.default_rng(7).normal(size=(N_PICTURES, 5))
    data = hidden[pictures] @ rng.normal(size=(5, n_voxels)) + rng.normal(
        size=(len(pictures), n_voxels)
    )
    if modality != "fmri":
        data = 1e-6 * data.reshape(len(data), -1, 4)  # volts
    table = pd.DataFrame(
        {"stimulus_id": [f"p{k}" for k in pictures], "session": sessions + 1, "run": pictures % 2}
    )
    trials = complete_trials(table, len(table))
    return Recording(data.astype(np.float32), modality, subject, trials), hidden[pictures]


def make_targets(hidden, shape, seed=5):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(hidden.shape[1], int(np.prod(shape))))
    return torch.from_numpy((hidden @ mixing + 2).astype(np.float32)).unflatten(1, shape)


def test_is_registered():
    assert BRAIN_ENCODERS.get("ridge") is RidgeEncoder


@pytest.mark.parametrize(
    ("shape", "part"), [((9,), "pooled"), ((3, 6), "tokens"), ((2, 4, 5), "lowlevel")]
)
def test_shape_of_targets_is_kept(shape, part):
    recording, hidden = make_recording()
    targets = make_targets(hidden, shape)
    encoder = RidgeEncoder()
    summary = encoder.fit(recording, targets)
    embedding = encoder.encode(recording)
    assert getattr(embedding, part).shape == (len(recording), *shape)
    assert sum(x is not None for x in (embedding.pooled, embedding.tokens, embedding.lowlevel)) == 1
    assert summary["groups_left_out"] == N_PICTURES
    assert 0.3 < summary["left_out_r2"] < 1
    correlation = np.corrcoef(getattr(embedding, part).flatten(), targets.flatten())[0, 1]
    assert correlation > 0.8


@pytest.mark.parametrize("repeats", [1, 3])  # fewer trials than voxels, and more
def test_equals_scikit_learn_at_a_given_alpha(repeats):
    recording, hidden = make_recording(repeats=repeats)
    targets = make_targets(hidden, (4, 3))
    encoder = RidgeEncoder(alphas=[3.0], relative=False, precision="float64")
    encoder.fit(recording, targets)
    other, _ = make_recording(seed=3)
    reference = Ridge(alpha=3.0).fit(recording.data.astype(float), targets.flatten(1).double())
    np.testing.assert_allclose(
        encoder.encode(other).tokens.flatten(1), reference.predict(other.data.astype(float)), 1e-6
    )


def test_left_out_predictions_are_those_of_fits_without_the_picture():
    recording, hidden = make_recording()
    targets = make_targets(hidden, (4,))
    encoder = RidgeEncoder(precision="float64")
    summary = encoder.fit(recording, targets, keep_left_out=True)
    assert (encoder.solutions_["01"].alphas == summary["alpha"]).all()
    ids = recording.trials["stimulus_id"].to_numpy()
    expected = np.empty(targets.shape)
    for picture in set(ids):
        out = ids == picture
        fit = Ridge(alpha=summary["alpha"]).fit(recording.data[~out].astype(float), targets[~out])
        expected[out] = fit.predict(recording.data[out].astype(float))
    np.testing.assert_allclose(encoder.left_out("01").pooled, expected, rtol=1e-5, atol=1e-6)
    error = ((expected - targets.numpy()) ** 2).sum(0)
    spread = ((targets - targets.mean(0)) ** 2).sum(0).numpy()
    assert summary["left_out_r2"] == pytest.approx(1 - error.sum() / spread.sum(), rel=1e-5)
    encoder.fit(recording, targets)
    with pytest.raises(UsageError, match="keep_left_out=True"):
        encoder.left_out("01")


def test_noise_has_no_left_out_score_though_the_fit_is_perfect():
    recording, _ = make_recording()
    noise = torch.randn(N_PICTURES, 30, generator=torch.Generator().manual_seed(0))
    row = recording.trials["stimulus_id"].str[1:].astype(int).to_list()
    assert RidgeEncoder().fit(recording, noise[row])["left_out_r2"] < 0.1
    tight = RidgeEncoder(alphas=[1e-6])
    assert tight.fit(recording, noise[row])["left_out_r2"] < 0.1
    assert torch.allclose(tight.encode(recording).pooled, noise[row], atol=0.05)


@pytest.mark.parametrize("alpha_per", ["all", "token", "target"])
def test_targets_that_share_an_alpha(alpha_per):
    recording, hidden = make_recording()
    targets = make_targets(hidden, (3, 4))
    targets[:, 1] = torch.randn(targets[:, 1].shape, generator=torch.Generator().manual_seed(1))
    encoder = RidgeEncoder(alpha_per=alpha_per)
    encoder.fit(recording, targets)
    alphas = encoder.solutions_["01"].alphas.reshape(3, 4)
    if alpha_per == "all":
        assert len(np.unique(alphas)) == 1
    if alpha_per == "token":
        assert (alphas == alphas[:, :1]).all()
        assert alphas[1, 0] > alphas[0, 0]  # noise asks for a stronger penalty


def test_batch_equals_one_at_a_time_and_order_follows_the_trials():
    recording, hidden = make_recording()
    encoder = RidgeEncoder()
    encoder.fit(recording, make_targets(hidden, (6,)))
    whole = encoder.encode(recording).pooled
    for row in range(len(recording)):
        alone = encoder.encode(recording.select(np.array([row]))).pooled[0]
        torch.testing.assert_close(alone, whole[row])
    order = np.random.default_rng(0).permutation(len(recording))
    torch.testing.assert_close(encoder.encode(recording.select(order)).pooled, whole[order])


def test_order_of_training_trials_does_not_matter():
    recording, hidden = make_recording()
    targets = make_targets(hidden, (6,))
    order = np.random.default_rng(0).permutation(len(recording))
    one, other = RidgeEncoder(), RidgeEncoder()
    one.fit(recording, targets)
    other.fit(recording.select(order), targets[order])
    torch.testing.assert_close(
        one.encode(recording).pooled, other.encode(recording).pooled, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("form", ["dual", "primal"])
def test_save_and_load_are_exact(tmp_path, form):
    encoder = RidgeEncoder(form=form, alpha_per="token")
    for subject, n_voxels in (("01", 37), ("02", 21)):
        recording, hidden = make_recording(subject, n_voxels)
        encoder.fit(recording, make_targets(hidden, (3, 4)))
    encoder.save_pretrained(tmp_path)
    loaded = RidgeEncoder.from_pretrained(tmp_path)
    assert loaded.config == encoder.config
    assert loaded.subjects == ["01", "02"]
    saved = encoder.tensors()
    assert set(loaded.tensors()) == set(saved)
    for name, value in loaded.tensors().items():
        assert value.dtype == saved[name].dtype
        assert torch.equal(value, saved[name])
    assert torch.equal(loaded.encode(recording).tokens, encoder.encode(recording).tokens)


def damage_name(tensors):
    tensors["01.wieghts"] = tensors.pop("01.weights")


def damage_shape(tensors):
    tensors["01.weights"] = tensors["01.weights"][:-1]


def damage_targets(tensors):
    tensors["02.y_mean"] = tensors["02.y_mean"].flatten()


@pytest.mark.parametrize("damage", [damage_name, damage_shape, damage_targets])
def test_weights_that_do_not_fit_are_refused(tmp_path, damage):
    encoder = RidgeEncoder()
    for subject in ("01", "02"):
        recording, hidden = make_recording(subject)
        encoder.fit(recording, make_targets(hidden, (3, 4)))
    encoder.save_pretrained(tmp_path)
    tensors = load_tensors(tmp_path / "model.safetensors")
    damage(tensors)
    save_tensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(InputError, match="the weights of the encoder ridge"):
        RidgeEncoder.from_pretrained(tmp_path)


def test_subjects_keep_to_themselves():
    encoder = RidgeEncoder()
    first, hidden = make_recording("01", 37)
    encoder.fit(first, make_targets(hidden, (6,)))
    before = encoder.encode(first).pooled
    second, hidden = make_recording("02", 21, seed=4)
    with pytest.raises(UsageError, match=r"not been fitted for sub-02[\s\S]*sub-01[\s\S]*add one"):
        encoder.encode(second)
    encoder.fit(second, make_targets(hidden, (6,)))
    assert torch.equal(encoder.encode(first).pooled, before)
    with pytest.raises(InputError, match=r"21 values per trial[\s\S]*37"):
        encoder.encode(replace(second, subject="01"))
    with pytest.raises(InputError, match=r"\(3, 2\) for sub-02[\s\S]*\(6,\), as for sub-01"):
        encoder.fit(second, make_targets(hidden, (3, 2)))


def test_a_grouping_that_splits_a_picture_is_refused():
    recording, hidden = make_recording()
    targets = make_targets(hidden, (6,))
    with pytest.raises(UsageError, match="split the trials of a picture"):
        RidgeEncoder().fit(recording, targets, groups=np.arange(len(recording)))
    once = recording.average()
    labels = np.arange(N_PICTURES)
    rows = [int(np.flatnonzero(recording.trials["stimulus_id"] == s)[0])
            for s in once.trials["stimulus_id"]]  # fmt: skip
    by_trial = RidgeEncoder().fit(once, targets[rows], groups=labels)
    assert by_trial == pytest.approx(RidgeEncoder().fit(once, targets[rows]), rel=1e-5)
    with pytest.raises(UsageError, match="groups"):
        RidgeEncoder().fit(recording, targets, groups="trial")
    with pytest.raises(UsageError, match="group labels of shape"):
        RidgeEncoder().fit(recording, targets, groups=labels)


def test_sessions_and_runs_may_be_left_out_with_a_warning(caplog):
    recording, hidden = make_recording()
    targets = make_targets(hidden, (6,))
    assert RidgeEncoder().fit(recording, targets, groups="run")["groups_left_out"] == 4
    with caplog.at_level(logging.WARNING):
        assert RidgeEncoder().fit(recording, targets, groups="session")["groups_left_out"] == 2
    assert "pictures occur in several sessions" in caplog.text


def test_an_alpha_at_the_edge_of_the_grid_is_told():
    recording, hidden = make_recording()
    targets = make_targets(hidden, (6,))
    assert RidgeEncoder(alphas=[1e3, 1e4]).fit(recording, targets)["alphas_at_edge"] == 1
    assert RidgeEncoder().fit(recording, targets)["alphas_at_edge"] == 0
    assert RidgeEncoder(alphas=[1e3]).fit(recording, targets)["alphas_at_edge"] == 0


def test_relative_alphas_make_units_irrelevant():
    recording, hidden = make_recording(modality="eeg", n_voxels=36)
    targets = make_targets(hidden, (6,))
    volts, microvolts = RidgeEncoder(), RidgeEncoder()
    volts.fit(recording, targets)
    scaled = replace(recording, data=recording.data * 1e6)
    microvolts.fit(scaled, targets)
    torch.testing.assert_close(
        volts.encode(recording).pooled, microvolts.encode(scaled).pooled, rtol=1e-4, atol=1e-4
    )
    assert np.all(np.diff(ALPHAS) > 0)


def test_float16_and_memory_mapped_recordings(tmp_path):
    recording, hidden = make_recording()
    np.save(tmp_path / "betas.npy", recording.data.astype(np.float16))
    mapped = replace(recording, data=np.load(tmp_path / "betas.npy", mmap_mode="r"))
    encoder = RidgeEncoder()
    encoder.fit(mapped, make_targets(hidden, (6,)))
    found = encoder.encode(mapped).pooled
    assert found.dtype == torch.float32
    encoder.fit(recording, make_targets(hidden, (6,)))
    torch.testing.assert_close(found, encoder.encode(recording).pooled, rtol=0.02, atol=0.02)


def test_targets_that_cannot_be_are_refused():
    recording, _ = make_recording()
    for targets in (np.zeros((3, 4)), np.zeros(len(recording)), np.zeros((len(recording), 0))):
        with pytest.raises(InputError, match="targets of shape"):
            RidgeEncoder().fit(recording, targets)
    with pytest.raises(InputError, match="not finite"):
        RidgeEncoder().fit(recording, np.full((len(recording), 2), np.nan))
    constant = RidgeEncoder()
    assert constant.fit(recording, np.ones((len(recording), 2)))["left_out_r2"] == 0
    assert torch.allclose(constant.encode(recording).pooled, torch.ones(len(recording), 2))


@pytest.mark.parametrize("option", ["alpha_per", "form", "precision"])
def test_unknown_options_are_refused(option):
    with pytest.raises(UsageError, match=option):
        RidgeEncoder(**{option: "nothing"})
