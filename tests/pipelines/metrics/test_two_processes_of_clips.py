"""Captions, clips and responses shared between two processes score as in one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("two_processes_of_clips.py")


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Shares of unequal size and order, with an item in both, over a real process group."""
    outcomes = {}
    for world in (1, 2):
        command = [sys.executable, str(WORKER), str(tmp_path / f"meeting-{world}"), str(world)]
        workers = [
            subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True)
            for rank in range(world)
        ]
        printed = [worker.communicate(timeout=500)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * world
        outcomes[world] = [json.loads(text.splitlines()[-1]) for text in printed]
    single = outcomes[1][0]
    assert {"bleu-2/strict-v1", "video-psnr/strict-v1", "brain-correlation/strict-v1"} <= set(
        single
    )
    assert outcomes[2] == [single] * 2
