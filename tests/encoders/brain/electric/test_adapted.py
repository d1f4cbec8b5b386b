"""Networks of other makers behind the words of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phosphene.encoders.brain.electric.adapted import AdaptedEncoder, plug_in
from phosphene.errors import InputError, UsageError


class Words(nn.Module):
    """Takes all six words, as today's models do."""

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.heard = (n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq, drop)
        self.layer = nn.Linear(int(n_times or 0), int(n_outputs or 0))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.mean(dim=1))
        return found


class Former(nn.Module):
    """Takes the words under the names they had before."""

    def __init__(self, in_chans: int, n_classes: int, input_window_samples: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_chans * input_window_samples, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.flatten(1))[:, :, None]
        return found


class Talkative(nn.Module):
    def __init__(self, **words: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(words["n_times"], words["n_outputs"])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.layer(x.mean(dim=1))


for known in (Words, Former, Talkative):
    plug_in(known.__name__, known)


def test_a_network_hears_the_words_that_it_takes() -> None:
    names = ["Oz", "O1"]
    encoder = AdaptedEncoder(
        "Words", n_outputs=3, n_times=50, sfreq=100.0, ch_names=names, options={"drop": 0.25}
    )
    channels = [{"ch_name": "Oz"}, {"ch_name": "O1"}]
    assert encoder.network.heard == (3, 2, channels, 50, 0.5, 100.0, 0.25)
    assert AdaptedEncoder("Former", 3, 2, 50)(torch.randn(4, 2, 50)).shape == (4, 3)


def test_what_comes_out_has_to_be_an_embedding() -> None:
    with pytest.raises(UsageError, match="returns tuple"):
        AdaptedEncoder("Talkative", 3, 2, 50)(torch.randn(4, 2, 50))


@pytest.mark.parametrize("name", ["os.system", "os:system", "Nothing", "import_module", ""])
def test_only_networks_that_are_known_are_built(name: str, tmp_path: Path) -> None:
    """A model folder names a network; it cannot name code."""
    with pytest.raises(UsageError):
        AdaptedEncoder(name, 3, 2, 50)
    AdaptedEncoder("Former", 3, 2, 50).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text().replace("Former", name)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="does not build"):
        AdaptedEncoder.from_pretrained(tmp_path)


def test_wrong_options_and_names_are_refused() -> None:
    with pytest.raises(UsageError, match="depth"):
        AdaptedEncoder("Words", 3, 2, 50, options={"depth": 2})
    with pytest.raises(UsageError, match="n_chans"):
        AdaptedEncoder("Words", 3, 2, 50, options={"n_chans": 2})
    with pytest.raises(UsageError, match="the name"):
        plug_in("Words", Former)
    with pytest.raises(UsageError, match="no network"):
        plug_in("f", len)  # type: ignore[arg-type]
