"""Limits that nothing in a build would measure."""

from dataclasses import replace

import pytest

from edgekiln.compiler.build.limits import AskedLimits
from edgekiln.runtime.errors import ConfigError

BLIND = AskedLimits(
    model="net.onnx", entered="onnx", precision="int8", data="x.npy", labelled=False, drop=False,
    signal=False,
)  # fmt: skip
SCORED = replace(BLIND, data="digits", labelled=True)


def refusal(asked: AskedLimits) -> str:
    """What is said of it; "" where it may be built."""
    try:
        asked.check()
    except ConfigError as error:
        return error.message if error.hint else "no hint"
    return ""


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (replace(BLIND, data="", drop=True), "--max-drop: without samples there is nothing"),
        (replace(BLIND, data="", signal=True), "--min-sqnr: without samples there is nothing"),
        (replace(BLIND, drop=True), "--max-drop: x.npy has no labels"),
        (replace(BLIND, entered="onnx-int8", signal=True), "--min-sqnr: net.onnx is quantized"),
        (replace(SCORED, entered="onnx-int8", signal=True), "--min-sqnr: net.onnx is quantized"),
        (replace(SCORED, precision="float32", signal=True), "--min-sqnr: of labelled data"),
    ],
)
def test_a_limit_that_would_hold_whatever_happens_is_refused(asked: AskedLimits, why: str) -> None:
    assert refusal(asked).startswith(why)


@pytest.mark.parametrize(
    "asked",
    [
        replace(BLIND, entered="onnx-int8", data=""),
        replace(SCORED, entered="onnx-int8", drop=True),
        replace(SCORED, entered="module", signal=True),
        replace(BLIND, signal=True),
        replace(BLIND, precision="float32", signal=True),
    ],
)
def test_what_is_measured_may_be_limited(asked: AskedLimits) -> None:
    assert refusal(asked) == ""
