"""The model hub: what is fetched from it, and how to keep away from it altogether."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from phosphene.errors import AssetError, PhospheneError
from phosphene.names import require

__all__ = ["go_offline", "hub_folder", "is_offline"]

SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def is_offline() -> bool:
    """Return whether access to the hub is off: ``--offline``, or ``HF_HUB_OFFLINE`` is set."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in SWITCHES)


def go_offline() -> None:
    """Turn access to the hub off, in this process and those it starts, for every library."""
    for name in SWITCHES:
        os.environ[name] = "1"
    # The hub's client looks at the environment once, when it is imported.
    constants: Any = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True


def hub_folder(repo_id: str) -> Path:
    """Return the local copy of a hub model; it is fetched unless access is off.

    Parameters
    ----------
    repo_id : str
        ``OWNER/NAME``.

    Raises
    ------
    AssetError
        If it is not here and cannot be fetched.
    """
    hub = require("huggingface_hub", "diffusers")
    try:
        return Path(hub.snapshot_download(repo_id, local_files_only=is_offline()))
    except PhospheneError:
        raise
    except Exception as error:  # the hub client raises a family of network and HTTP errors
        if is_offline():
            raise AssetError(
                f"the hub model {repo_id} is not on this machine, and access to the hub is off",
                expected="a copy in the hub's local cache; size and licence stand on the page of "
                "the model, nobody wrote them down here",
                remedy=f"hf download {repo_id}, where there is a network; or copy its folder and "
                "name it with local-dir:PATH",
            ) from error
        raise AssetError(
            f"the hub model {repo_id} could not be fetched ({type(error).__name__})",
            expected="a reachable hub or a copy in the local cache",
            remedy="download it where there is a network, then name it with local-dir:PATH",
        ) from error
