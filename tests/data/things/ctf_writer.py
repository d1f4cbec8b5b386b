"""Miniature CTF folders (``.ds``): a header and integers, as the acquisition software writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

GAIN = 1e18  # integers per tesla
COIL = np.dtype(
    [("pos", ">f8", 3), ("d0", ">f8"), ("norm", ">f8", 3), ("d1", ">f8"), ("turns", ">i2"),
     ("d2", ">i4"), ("d3", ">i2"), ("area", ">f8")]
)  # fmt: skip
CHANNEL = np.dtype(
    [("kind", ">i2"), ("run", ">i2"), ("coil_type", ">i4"), ("proper_gain", ">f8"),
     ("qgain", ">f8"), ("io_gain", ">f8"), ("io_offset", ">f8"), ("num_coils", ">i2"),
     ("grad_order", ">i2"), ("d0", ">i4"), ("coil", COIL, 8), ("head_coil", COIL, 8)]
)  # fmt: skip
BALANCE = np.dtype(
    [("sensor", "S32"), ("kind", ">i4"), ("d0", ">i4"), ("n", ">i2"), ("sensors", "S31", 50),
     ("coeffs", ">f8", 50)]
)  # fmt: skip
FIRST_ORDER = 0x47314252  # "G1BR"


def write_ctf(
    folder: Path, signal: np.ndarray[Any, Any], trigger: np.ndarray[Any, Any], sfreq: float
) -> None:
    """Write MEG (C, N) in tesla and a stimulus channel UPPT001 (N,) as one trial."""
    folder.mkdir(parents=True)
    n_chans, n = signal.shape
    names = [f"MLO{k + 11}-4408" for k in range(n_chans)] + ["BG1-4408", "UPPT001"]
    header = bytearray(1844)

    def put(at: int, values: Any, kind: str) -> None:
        raw = np.asarray(values, dtype=kind).tobytes()
        header[at : at + len(raw)] = raw

    header[0:8] = b"MEG42RS\x00"
    at = 8 + 3 * 256
    put(at, 1, ">i2")
    header[at + 2 : at + 7] = b"12:30"
    header[at + 257 : at + 268] = b"01-Jan-2020"
    at += 2 + 2 * 255
    put(at, n, ">i4")
    put(at + 4, len(names), ">i2")
    at = -(-(at + 6) // 8) * 8
    put(at, [sfreq, n / sfreq], ">f8")
    put(at + 16, 1, ">i2")
    channels = np.zeros(len(names), CHANNEL)
    for k in range(n_chans + 1):  # the last one is the reference magnetometer
        channels[k]["kind"], channels[k]["num_coils"] = (5, 2) if k < n_chans else (0, 1)
        channels[k]["proper_gain"], channels[k]["qgain"], channels[k]["io_gain"] = GAIN, 1, 1
        channels[k]["coil"]["pos"][0] = 10 * np.cos(k), 10 * np.sin(k), 5 + k
        channels[k]["coil"]["norm"][0] = np.cos(k), np.sin(k), 0.3
    channels[-1]["kind"] = 11
    for key in ("proper_gain", "qgain", "io_gain"):
        channels[-1][key] = 1
    body = np.array(0, ">i2").tobytes()  # no filter
    body += b"".join(name.encode().ljust(32, b"\x00") for name in names)
    balances = np.zeros(n_chans, BALANCE)  # known, and not applied
    for k in range(n_chans):
        balances[k]["sensor"], balances[k]["kind"], balances[k]["n"] = names[k], FIRST_ORDER, 1
        balances[k]["sensors"][0] = "BG1-4408"
    body += channels.tobytes() + np.array(n_chans, ">i2").tobytes() + balances.tobytes()
    (folder / f"{folder.stem}.res4").write_bytes(bytes(header) + body)
    places = {"nasion": (10, 0, 0), "left ear": (0, 7, 0), "right ear": (0, -7, 0)}
    (folder / f"{folder.stem}.hc").write_text(
        "".join(
            f"measured {name} coil position relative to {frame} (cm):\n"
            + "".join(f"\t{axis} = {value}\n" for axis, value in zip("xyz", at, strict=True))
            for frame in ("dewar", "head")
            for name, at in places.items()
        )
    )
    counts = np.concatenate([np.round(signal * GAIN), np.zeros((1, n)), trigger[None]])
    (folder / f"{folder.stem}.meg4").write_bytes(b"MEG41CP\x00" + counts.astype(">i4").tobytes())
