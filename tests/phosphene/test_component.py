from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from phosphene.component import Component, record_config
from phosphene.errors import InputError
from phosphene.storage import load_tensors, save_tensors


class Tiny(torch.nn.Module, Component):
    kind = "test"
    name = "tiny"

    @record_config
    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, width, bias=bias)


def test_save_and_load_are_exact(tmp_path: Path) -> None:
    model = Tiny(5)
    model.save_pretrained(tmp_path)
    again = Tiny.from_pretrained(tmp_path)
    assert again.config == {"width": 5, "bias": True}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_unknown_and_missing_config_keys_are_errors(tmp_path: Path) -> None:
    Tiny(5).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    content["config"] = {"widht": 5, "bias": True}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"unknown keys widht[\s\S]*no width"):
        Tiny.from_pretrained(tmp_path)


@pytest.mark.parametrize("change", ["extra", "missing", "shape"])
def test_tensors_must_fit_exactly(tmp_path: Path, change: str) -> None:
    Tiny(5).save_pretrained(tmp_path)
    tensors = load_tensors(tmp_path / "model.safetensors")
    if change == "extra":
        tensors["other"] = torch.zeros(1)
    elif change == "missing":
        del tensors["layer.bias"]
    else:
        tensors["layer.bias"] = torch.zeros(4)
    save_tensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(InputError, match="do not fit"):
        Tiny.from_pretrained(tmp_path)
