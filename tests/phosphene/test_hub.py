"""Access to the hub can be turned off, before and after its client is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from phosphene.errors import AssetError
from phosphene.hub import go_offline, hub_folder, is_offline
from phosphene.names import resolve_folder

ONLINE = {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": ""}


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ONLINE.items():
        monkeypatch.setenv(name, value)
    assert not is_offline()
    for value in ("1", "true", "ON"):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert is_offline()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not is_offline()
    go_offline()
    assert is_offline()


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_client_refuses_every_request(order: str) -> None:
    """In a process of its own: the client reads the environment when it is imported."""
    lines = ["from phosphene.hub import go_offline", "import huggingface_hub"]
    lines.insert(1 if order == "before" else 2, "go_offline()")
    script = "\n".join([
        "import os", *(f"os.environ.pop({name!r}, None)" for name in ONLINE), *lines,
        "from huggingface_hub.errors import OfflineModeIsEnabled",
        "try:",
        "    huggingface_hub.HfApi().model_info('owner/name')",
        "except OfflineModeIsEnabled:",
        "    print('refused')",
    ])  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "refused"


def test_what_is_missing_is_told() -> None:
    assert is_offline()  # the suite's own setting
    with pytest.raises(AssetError, match="access to the hub is off") as caught:
        resolve_folder("hf-hub:owner/name")
    assert caught.value.exit_code == 4
    assert "hf download owner/name" in str(caught.value)
    with pytest.raises(AssetError):
        hub_folder("owner/name")
