"""Names, units and checks of sensors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo, standard_name, unit_factor


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("EEG Fp1-REF", "fp1"), ("FP1", "fp1"), ("Fc5.", "fc5"), ("T3", "t7"), ("t6", "p8"),
        ("EEG 001", "001"), ("MLC11-4304", "mlc11"), ("EEG O1-LE", "o1"), ("P7-A1A2", "p7"),
        ("AFz", "afz"), ("MEG 0113", "0113"),
    ],
)  # fmt: skip
def test_decoration_and_old_names_do_not_matter(written: str, meant: str) -> None:
    assert standard_name(written) == meant


def test_units_convert_within_a_quantity_only() -> None:
    assert unit_factor("uV", "V") == pytest.approx(1e-6)
    assert unit_factor("T", "fT") == pytest.approx(1e15)
    assert unit_factor("V", "T") is None
    assert unit_factor("V", "whitened") is None
    assert unit_factor("whitened", "whitened") == 1


def test_channels_that_repeat_are_named() -> None:
    with pytest.raises(InputError, match="Oz occur twice"):
        SensorInfo(("Oz", "O1", "Oz"), 250)


@pytest.mark.parametrize("rate", [0, -250, float("nan"), float("inf")])
def test_a_rate_has_to_be_positive(rate: float) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        SensorInfo(("Oz",), rate)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(UsageError, match="uV"):
        SensorInfo(("Oz",), 250, unit="uv")
    with pytest.raises(InputError, match="positions"):
        SensorInfo(("Oz", "O1"), 250, positions=np.zeros((3, 3)))
    with pytest.raises(InputError, match="without channels"):
        SensorInfo((), 250)


def test_selection_keeps_names_and_positions_together() -> None:
    info = SensorInfo(("a", "b", "c"), 100, -0.1, np.arange(9.0).reshape(3, 3), "uV", "Cz")
    part = info.select([2, 0])
    assert part.ch_names == ("c", "a")
    np.testing.assert_array_equal(part.positions, [[6, 7, 8], [0, 1, 2]])
    assert (part.sfreq, part.tmin, part.unit, part.reference) == (100, -0.1, "uV", "Cz")


def test_the_hash_tells_order_rate_window_unit_and_reference_apart() -> None:
    base = SensorInfo(("a", "b"), 250, 0.0, unit="V", reference="Cz")
    others = [
        SensorInfo(("b", "a"), 250, 0.0, unit="V", reference="Cz"),
        SensorInfo(("a", "b"), 200, 0.0, unit="V", reference="Cz"),
        SensorInfo(("a", "b"), 250, 0.1, unit="V", reference="Cz"),
        SensorInfo(("a", "b"), 250, 0.0, unit="uV", reference="Cz"),
        SensorInfo(("a", "b"), 250, 0.0, unit="V", reference="Pz"),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 6
    assert base.hash == SensorInfo(("a", "b"), 250.0, 0, unit="V", reference="Cz").hash


@pytest.mark.parametrize("placed", [True, False])
def test_what_describes_sensors_survives_json(placed: bool) -> None:
    places = np.arange(6.0).reshape(2, 3) if placed else None
    info = SensorInfo(("Oz", "O1"), 250.0, -0.2, places, "uV", "average")
    found = SensorInfo.from_dict(json.loads(json.dumps(info.to_dict())) | {"format": "later"})
    assert found.hash == info.hash
    if places is None:
        assert found.positions is None
    else:
        np.testing.assert_array_equal(found.positions, places)
