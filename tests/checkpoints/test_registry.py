"""Known models: entries are complete, and what is shipped is what the registry says."""

from __future__ import annotations

import pytest

from phosphene.checkpoints.registry import HERE, default_model, known_models, model_folder
from phosphene.errors import AssetError, UsageError
from phosphene.pipelines.model_folder import load_model
from phosphene.pipelines.video.model import load_video_model


def test_fmri_has_a_default() -> None:
    assert default_model("fmri") == "virtual-fmri"
    with pytest.raises(UsageError, match="none comes with the package for ecog"):
        default_model("ecog")


def test_shipped_models_load_and_fit_their_entry() -> None:
    for name, entry in known_models().items():
        folder = model_folder(name)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
        assert size == pytest.approx(entry.megabytes, abs=0.2)
        if entry.modality == "fmri-video":
            assert load_video_model(name, device="cpu").encoder.subjects
        else:
            assert load_model(name).preprocessor.modality == entry.modality


def test_default_fmri_weights_stay_within_their_budget() -> None:
    assert known_models()["virtual-fmri"].megabytes <= 40
    assert default_model("fmri-video") == "virtual-video"
    # With the layers of default_video all weights stay within 60, which is tested beside them.
    assert known_models()["virtual-video"].megabytes <= 12


def test_other_names_are_folders() -> None:
    with pytest.raises(AssetError, match="no model folder"):
        model_folder("no-such-model")
    assert model_folder(f"local-dir:{HERE}") == HERE
