"""The model hub: what is fetched from it, and how to keep away from it altogether."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from phosphene.errors import AssetError, PhospheneError
from phosphene.names import require

__all__ = ["go_offline", "hub_folder", "is_offline", "upload_folder"]

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


def upload_folder(folder: Path, repo_id: str, *, private: bool) -> str:
    """Upload a folder as a model of the hub, which is made if it is not there.

    Parameters
    ----------
    folder : Path
    repo_id : str
        ``OWNER/NAME``; the token of this machine is used (``hf auth login``).
    private : bool
        Of a new one; one that is there stays as it is.

    Returns
    -------
    str
        Its address.

    Raises
    ------
    AssetError
        If the hub is off, cannot be reached, or refuses.
    """
    hub = require("huggingface_hub", "diffusers")
    if is_offline():
        raise AssetError(
            f"{repo_id} cannot be uploaded: access to the hub is off",
            expected="a connection to the hub",
            remedy="leave --offline and HF_HUB_OFFLINE away",
        )
    try:
        client = hub.HfApi()
        address = str(client.create_repo(repo_id, private=private, exist_ok=True))
        client.upload_folder(repo_id=repo_id, folder_path=folder)
    except Exception as error:  # the hub client raises a family of network and HTTP errors
        raise AssetError(
            f"{repo_id} could not be uploaded ({type(error).__name__}: {error})",
            expected="a reachable hub, and a token that may write there",
            remedy="log in with `hf auth login`, and check the name",
        ) from error
    return address
