"""What annotations say, read in one place for codec, files of options, schemas and commands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, Optional

import pytest

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import (
    AnyHint,
    LiteralHint,
    MappingHint,
    RecordHint,
    ScalarHint,
    TupleHint,
    UnionHint,
    fields_of,
    hint_of,
)
from edgekiln.runtime.typed import from_table

INT, STR, NONE = ScalarHint(int), ScalarHint(str), ScalarHint(NoneType)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Holds its like."""

    weight: float
    branches: "tuple[Tree, ...]" = ()


@dataclass(frozen=True, kw_only=True)
class Fruitful(Tree):
    """With a field of its own."""

    fruits: Mapping[str, int] | None = None


@pytest.mark.parametrize(
    ("annotation", "hint"),
    [
        (Any, AnyHint()),
        (int, INT),
        (Literal["a", 2], LiteralHint(("a", 2))),
        (int | None, UnionHint((INT, NONE))),
        (Optional[int], UnionHint((INT, NONE))),  # noqa: UP045 the older spelling
        (tuple[int, ...], TupleHint((INT,), repeated=True)),
        (tuple[int, str], TupleHint((INT, STR), repeated=False)),
        (Mapping[str, tuple[int, ...]], MappingHint(TupleHint((INT,), repeated=True))),
        (Tree, RecordHint(Tree)),
    ],
)
def test_an_annotation_is_read(annotation, hint):
    assert hint_of(annotation) == hint


@pytest.mark.parametrize(
    "annotation", [list[int], Mapping[int, str], Callable[[], int], "int", 3], ids=str
)
def test_an_annotation_that_no_file_of_ours_has_is_refused(annotation):
    with pytest.raises(TypeError, match="is no hint of ours"):
        hint_of(annotation)


def test_what_is_required_is_what_is_not_none():
    assert UnionHint((INT, NONE)).required == UnionHint((NONE, INT)).required == INT


def test_the_fields_of_a_dataclass_are_its_own_and_those_it_inherits():
    assert fields_of(Fruitful) == {
        "weight": ScalarHint(float),
        "branches": TupleHint((RecordHint(Tree),), repeated=True),
        "fruits": UnionHint((MappingHint(INT), NONE)),
    }


@pytest.mark.parametrize(
    "weight", [float("nan"), float("inf"), 10**400], ids=["nan", "inf", "beyond all floats"]
)
def test_a_number_in_a_file_is_finite(weight):
    with pytest.raises(ConfigError, match=r"^trees\.toml: weight must be a finite number, found "):
        from_table(Tree, {"weight": weight}, "trees.toml")


def test_tables_in_tables_are_read_by_their_hints():
    table = {"weight": 2, "branches": [{"weight": 1.5}], "fruits": {"pear": 3}}
    wanted = Fruitful(weight=2.0, branches=(Tree(weight=1.5),), fruits={"pear": 3})
    read = from_table(Fruitful, table, "trees.toml")
    assert read == wanted
    assert type(read.weight) is float


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"weight": True}, "t: weight must be a number, found true"),
        ({"weight": 1, "branches": 3}, "t: branches must be a list, each item a table, found 3"),
        ({"weight": 1, "branches": [3]}, "t: branches[0] must be a table, found 3"),
        (
            {"weight": 1, "fruits": {"pear": 1.5}},
            "t: fruits.pear must be a whole number, found 1.5",
        ),
    ],
)
def test_a_value_of_another_type_is_named(table, message):
    with pytest.raises(ConfigError) as error:
        from_table(Fruitful, table, "t")
    assert error.value.message == message
