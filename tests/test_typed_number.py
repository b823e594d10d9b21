# ruff: noqa: RUF001 - digits and signs that look alike are what is tested
"""The same text is the same number everywhere, and what may be two numbers is none."""

from __future__ import annotations

import math

import pytest

from usviewer.errors import UserError
from usviewer.typed_number import LENGTH_IN_MM, SECONDS, parse_number, parse_whole, plain_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("52.5", 52.5),
        ("52,5", 52.5),
        (" 7.25 ", 7.25),
        ("7,25", 7.25),
        ("12,5", 12.5),
        ("1,05", 1.05),
        ("0.213", 0.213),
        ("0,213", 0.213),
        (",5", 0.5),
        (".5", 0.5),
        ("50", 50.0),
        ("-3", -3.0),
        ("-3,5", -3.5),
        ("+4", 4.0),
        ("1,2345", 1.2345),
        ("1234,567", 1234.567),
        ("0.514362922", 0.514362922),
    ],
)
def test_point_and_comma_are_both_the_decimal_sign(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["1,234", "1.234", "12,500", "999.000", "-1,234"])
def test_what_may_be_two_numbers_is_refused_and_both_are_named(text: str) -> None:
    with pytest.raises(UserError, match="may mean") as caught:
        parse_number(text)
    offered = caught.value.do.removeprefix("Write ").split(" or ")
    assert len({parse_number(each) for each in offered}) == 2


@pytest.mark.parametrize(
    ("text", "least", "most", "value"),
    [
        ("1,234", 0.001, 5.0, 1.234),  # mm per pixel: 1234 is no pixel
        ("52,500", 1.0, 600.0, 52.5),  # a distance: 52.5 m is none
        ("52.500", 1.0, 600.0, 52.5),
        ("-1,500", -3.0, 3.0, -1.5),
    ],
)
def test_limits_tell_which_of_two_readings_is_meant(text: str, least: float, most: float, value: float) -> None:
    assert parse_number(text, least=least, most=most) == value


def test_digits_that_can_only_be_grouped_are_refused_too() -> None:
    with pytest.raises(UserError, match=r"may mean 1\.5 or 1500"):
        parse_number("1,500", least=100.0, most=5000.0)


@pytest.mark.parametrize(
    "text",
    [
        *("1.234,5", "1,234.5", "1 234,5", "1'234", "1’234", "1_234", "1.234.567", "1,234,567"),
        *("1\u00a0234", "1\u202f234,5", "1 234", "1 234.5 mm"),
    ],
)
def test_grouped_digits_are_refused_as_such(text: str) -> None:
    with pytest.raises(UserError, match="in groups"):
        parse_number(text, units=LENGTH_IN_MM)


@pytest.mark.parametrize("text", ["５２.5", "٥٢", "5２", "१२"])
def test_digits_of_other_scripts_are_refused_as_such(text: str) -> None:
    with pytest.raises(UserError, match="0 to 9"):
        parse_number(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "x", ".", ",", "-", "5.", "5,", "1e3", "1E3", "1e-3", "nan", "inf", "-inf", "Infinity", "0x10"),
        *("5..2", "5,,2", "--5", "5-3", "5+3", "5;3", "5/3", "52٫5", "²", "½", "5%", "\x005", "5\n6", "1" * 5000),
    ],
)
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_number(text, most=1e9)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [("52.5 mm", 52.5), ("52,5mm", 52.5), ("5 cm", 50.0), ("5,25 CM", 52.5), ("50", 50.0), ("5\u00a0cm", 50.0)],
)
def test_a_unit_that_is_known_may_follow(text: str, value: float) -> None:
    assert parse_number(text, least=1.0, most=600.0, units=LENGTH_IN_MM) == value


@pytest.mark.parametrize("text", ["5 m", "5 in", "5 s", "5 km", "5 px", "5 mm mm", "5 e", "mm", "5 cm2"])
def test_any_other_unit_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_number(text, units=LENGTH_IN_MM)


def test_a_unit_is_refused_where_none_belongs() -> None:
    with pytest.raises(UserError, match="unit"):
        parse_number("5 cm")
    assert parse_number("5 s", units=SECONDS) == 5.0


@pytest.mark.parametrize("text", ["0.9", "600,1", "61 cm"])
def test_what_lies_beyond_the_limits_is_refused_with_them(text: str) -> None:
    with pytest.raises(UserError, match="from 1 to 600"):
        parse_number(text, least=1.0, most=600.0, units=LENGTH_IN_MM)


def test_a_table_made_by_a_program_groups_nothing() -> None:
    assert parse_number("3.125", grouping=False) == 3.125


def test_whole_numbers() -> None:
    assert parse_whole(" 12 ", least=0, most=100) == 12
    for text in ("1.5", "1,5", "1_0", "１２", "1e1", "101", "-1", "", "1.000", "9" * 5000):
        with pytest.raises(UserError):
            parse_whole(text, least=0, most=100)


@pytest.mark.parametrize("value", [50.0, 52.5, 0.21277, 1.25, 1000.0, 0.1, 12.3456])
def test_what_is_shown_is_read_again_as_it_was(value: float) -> None:
    shown = plain_number(value, 5)
    assert "," not in shown and not math.isnan(value)
    assert parse_number(shown, least=0.001, most=1000.0) == value
