"""Limits that nothing in a build would measure."""

from dataclasses import dataclass, field

import pytest

from edgekiln.compiler.build import limits
from edgekiln.compiler.build.recipe import Precision
from edgekiln.compiler.pipeline.artifact import Kind
from edgekiln.runtime.errors import ConfigError


@dataclass
class Asked:
    """Of a build."""

    model: str = "net.onnx"
    precision: Precision = "int8"
    max_drops: dict[str, float] = field(default_factory=dict)
    min_sqnr_db: float | None = None


def refusal(asked: Asked, entered: Kind, data: str, labelled: bool) -> str:
    """What is said of it; "" where it may be built."""
    try:
        limits.check(asked, entered, data, labelled=labelled)
    except ConfigError as error:
        assert error.hint
        return error.message
    return ""


DROP, SIGNAL = Asked(max_drops={"": 1.0}), Asked(min_sqnr_db=30.0)


@pytest.mark.parametrize(
    ("asked", "entered", "data", "labelled", "why"),
    [
        (DROP, "onnx", "", False, "--max-drop: without samples there is nothing to measure"),
        (SIGNAL, "onnx", "", False, "--min-sqnr: without samples there is nothing to measure"),
        (DROP, "onnx", "x.npy", False, "--max-drop: x.npy has no labels"),
        (SIGNAL, "onnx-int8", "x.npy", False, "--min-sqnr: net.onnx is quantized"),
        (SIGNAL, "onnx-int8", "digits", True, "--min-sqnr: net.onnx is quantized"),
        (Asked(precision="float32", min_sqnr_db=30.0), "onnx", "digits", True,
         "--min-sqnr: of labelled data"),
    ],
)  # fmt: skip
def test_a_limit_that_would_hold_whatever_happens_is_refused(
    asked: Asked, entered: Kind, data: str, labelled: bool, why: str
) -> None:
    assert refusal(asked, entered, data, labelled).startswith(why)


@pytest.mark.parametrize(
    ("asked", "entered", "data", "labelled"),
    [
        (Asked(), "onnx-int8", "", False),
        (DROP, "onnx-int8", "digits", True),
        (SIGNAL, "module", "digits", True),
        (SIGNAL, "onnx", "x.npy", False),
        (Asked(precision="float32", min_sqnr_db=30.0), "onnx", "x.npy", False),
    ],
)
def test_what_is_measured_may_be_limited(
    asked: Asked, entered: Kind, data: str, labelled: bool
) -> None:
    assert refusal(asked, entered, data, labelled) == ""
