"""What may be tried of an option: said in TOML and on the command line, and what is refused."""

import pytest

from edgekiln.compiler.sweep.ranges import (
    FloatRange,
    IntRange,
    ListedValues,
    Range,
    parse_range,
    read_range,
)
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import Hint, LiteralHint, ScalarHint, TupleHint, UnionHint

NUMBER, WHOLE, WORD, SWITCH = (ScalarHint(kind) for kind in (float, int, str, bool))
METHOD = LiteralHint(("minmax", "mse"))
NAMES = TupleHint((WORD,), repeated=True)
OPTIONAL = UnionHint((NUMBER, ScalarHint(type(None))))


@pytest.mark.parametrize(
    ("table", "line", "hint", "expected"),
    [
        ({"low": 0, "high": 1}, "0..1", NUMBER, FloatRange(low=0.0, high=1.0)),
        (
            {"low": 1e-4, "high": 0.01, "log": True}, "1e-4..1e-2:log", OPTIONAL,
            FloatRange(low=1e-4, high=1e-2, log=True),
        ),
        (
            {"low": -0.5, "high": 0.5, "step": 0.25}, "-.5..0.5:step=.25", NUMBER,
            FloatRange(low=-0.5, high=0.5, step=0.25),
        ),
        # The last one that is tried is the last a step reaches.
        ({"low": 1, "high": 8, "step": 3}, "1..8:step=3", WHOLE, IntRange(low=1, high=7, step=3)),
        (["mse", "minmax"], "mse, minmax", METHOD, ListedValues(values=("mse", "minmax"))),
        ([0.5, 1], "0.5,1", NUMBER, ListedValues(values=(0.5, 1.0))),
        ([True, False], "true,false", SWITCH, ListedValues(values=(True, False))),
        ([["a"], ["b"]], "a,b", NAMES, ListedValues(values=(("a",), ("b",)))),
    ],
)  # fmt: skip
def test_a_range_is_the_same_in_toml_and_on_the_command_line(
    table: object, line: str, hint: Hint, expected: Range
) -> None:
    assert parse_range(table, hint, "x") == expected
    assert read_range(line, hint, "x") == expected


@pytest.mark.parametrize(
    ("line", "hint", "message"),
    [
        ("2..1", NUMBER, "the range from 2 to 1 is empty"),
        ("1..1", WHOLE, "the range from 1 to 1 is empty"),
        ("0..1:log", NUMBER, "0 has no logarithm"),
        ("1..9:step=0", WHOLE, "step = 0"),
        ("0..1e300:step=1e-300", NUMBER, "step = 1e-300"),
        ("0..9000000000000000000:step=1", WHOLE, "step = 1"),
        ("1..9:step=99", WHOLE, "step = 99"),
        ("0..1:step=1e-320", NUMBER, "step = "),
        ("-1e308..1e308:step=1e300", NUMBER, "step = "),
        ("1..9:log:step=2", WHOLE, "step = 2"),
        ("1..9:lgo", WHOLE, "'lgo' is no part of a range"),
        ("0.5..2", WHOLE, "low must be a whole number, found 0.5"),
        ("a..b", NUMBER, "'a' is no number"),
        ("1..2", METHOD, "it is no number, which a range is for"),
        ("minmax", METHOD, "one value is nothing to choose from"),
        ("minmax,minmax", METHOD, "a value stands there twice"),
        ("minmax,foo", METHOD, "must be one of minmax, mse, found 'foo'"),
        ("0.1,", NUMBER, "'0.1,' is no range"),
        ("yes,no", SWITCH, "must be true or false"),
    ],
)
def test_a_range_without_sense_is_refused(line: str, hint: Hint, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^--param x.*{message}"):
        read_range(line, hint, "--param x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "3 is no range"),
        ([], "no values are nothing to choose from"),
        ({"low": 1}, "high is missing"),
        ({"low": 1, "high": 2, "lgo": True}, "unknown key 'lgo'"),
        ({"low": 1, "high": float("inf")}, "must be a finite number"),
    ],
)
def test_toml_that_is_no_range_is_refused(given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_range(given, NUMBER, "[sweep] x")


def test_what_is_tried_is_a_number_that_people_can_read() -> None:
    span = FloatRange(low=1e-4, high=1e-2, log=True)
    assert span.value_of(0.00123456789) == 0.001235
    # Rounding leads nowhere beyond the ends.
    assert FloatRange(low=0.12344, high=1.0).value_of(0.12344) == 0.12344


def test_values_of_any_type_are_known_by_how_a_recipe_has_them() -> None:
    listed = ListedValues(values=(("a", "b"), ()))
    assert listed.names == ('["a", "b"]', "[]")
    assert listed.value_of("[]") == ()


@pytest.mark.parametrize(
    ("span", "size"),
    [
        (FloatRange(low=0.0, high=1.0, step=0.1), 11),
        (FloatRange(low=0.0, high=1.0), None),
        (IntRange(low=1, high=7, step=3), 3),
        (ListedValues(values=(1, 2)), 2),
    ],
)
def test_a_range_knows_how_many_values_it_has(span: Range, size: int | None) -> None:
    assert span.size == size
