from __future__ import annotations

import pytest

from phosphene.errors import AssetError, InputError, PhospheneError, UsageError, check_option


@pytest.mark.parametrize(
    ("kind", "code"), [(PhospheneError, 1), (UsageError, 2), (InputError, 3), (AssetError, 4)]
)
def test_each_kind_of_error_has_its_exit_code(kind: type[PhospheneError], code: int) -> None:
    assert kind("something").exit_code == code


def test_message_says_what_was_found_expected_and_to_do() -> None:
    text = str(InputError("found this", expected="that", remedy="do so"))
    assert text == "found this.\nExpected: that.\nWhat to do: do so."


def test_unknown_option_lists_choices_and_the_closest_one() -> None:
    with pytest.raises(UsageError, match=r"ridge[\s\S]*did you mean 'ridge'"):
        check_option("encoder", "rigde", ["ridge", "mlp"])
