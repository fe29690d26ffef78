"""A wrong program is found, however little is wrong with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.evaluation.layerwise import Verification
from edgekiln.compiler.evaluation.referee import rounded
from edgekiln.runtime import manifest
from edgekiln.runtime.bundle import read_program, write_lib
from edgekiln.runtime.errors import MismatchError
from edgekiln.runtime.runner import AotRunner
from tests.compiler.evaluation.judged import compiled, only_here, pooled, verified
from tests.compiler.qdq_models import QdqModel

pytestmark = only_here


def refused(result: Verification) -> None:
    assert result.judged
    assert not any(each.ok or each.onnxruntime_is_off for each in result.judged)
    with pytest.raises(MismatchError, match="values differ from ONNX Runtime"):
        result.check()


def forged(wrong: Path, right: Path) -> Path:
    """The program of a model that says it is another one's."""
    program, (spec, _) = compiled(wrong), read_program(compiled(right))
    own, files = read_program(program)
    text = manifest.text_of(replace(own, model_sha256=spec.model_sha256))
    write_lib(program, {**files, "program.json": text.encode()})
    return program


def verified_with(model: Path, turned: Callable[[Any], Any], op: str = "lookup") -> Verification:
    """The right program, whose tables of functions, or layers of another kind, give other codes."""
    program = compiled(model)
    verified(model, program).check()
    real = AotRunner.layer_output

    def off(self: AotRunner, layer: manifest.Layer) -> Any:
        found = real(self, layer)
        return found if found is None or layer.op != op else turned(found.copy())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AotRunner, "layer_output", off)
        return verified(model, program)


def sigmoid(path: Path) -> Path:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 16, 16), scale=0.05, zero=3)
    return m.save(path, m.q(m.op("Sigmoid", x, out="s"), scale=1 / 256, zero=-128))


def test_a_maximum_is_no_average(tmp_path: Path) -> None:
    window: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    right = pooled(tmp_path / "right.onnx", **window)
    wrong = pooled(tmp_path / "wrong.onnx", "MaxPool", **window)
    refused(verified(right, forged(wrong, right)))


def test_a_few_values_that_are_one_step_off_and_no_ties_are_not_let_pass(tmp_path: Path) -> None:
    """Fewer than ties may be: the program's table of a function has one wrong entry."""

    def one_entry(codes: Any) -> Any:
        flat = codes.reshape(-1)
        flat[np.flatnonzero(flat == flat[0])[:3]] += 1
        return flat.reshape(codes.shape)

    result = verified_with(sigmoid(tmp_path / "m.onnx"), one_entry)
    (wrong,) = [gap for gap in result.layers if gap.differing]
    assert wrong.ok
    refused(result)


def test_the_wrong_neighbour_of_what_is_near_to_a_middle_is_not_let_pass(tmp_path: Path) -> None:
    """As near as sums of floats may leave a doubt, where there are no sums."""
    levels = 256 / (1 + np.exp(-0.05 * (np.arange(-128, 128) - 3.0))) - 128
    apart = np.abs(levels - np.floor(levels) - 0.5)
    near = levels[(apart > 1e-3) & (apart < 0.04) & (np.abs(levels) < 100)]
    code = round(float(near[0]))
    other = code + (1 if near[0] > code else -1)
    refused(
        verified_with(
            sigmoid(tmp_path / "m.onnx"),
            lambda codes: np.where(codes == code, np.int8(other), codes),
        )
    )


@pytest.mark.parametrize("zero", [0, 5])
def test_ties_that_are_rounded_up_are_not_let_pass(tmp_path: Path, zero: int) -> None:
    """Every other value is the middle between two codes, which floats hold exactly."""

    def shifted(name: str, by: float) -> Path:
        m = QdqModel()
        x = m.q(m.input("x", 1, 8, 16, 16), scale=2.0**-5, zero=0)
        added = m.op("Add", x, m.const(by, "float32"), out="sum")
        return m.save(tmp_path / name, m.q(added, scale=2.0**-4, zero=zero))

    right, wrong = shifted("right.onnx", 2.0**-4), shifted("wrong.onnx", 2.0**-4 + 2.0**-12)
    verified(right).check()
    refused(verified(right, forged(wrong, right)))


@pytest.mark.filterwarnings("error")
def test_what_is_no_number_has_no_code_that_is_wrong(tmp_path: Path) -> None:
    """0 / 0: ONNX does not say what a code of it is."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 16, 16), scale=0.05, zero=3)
    no, nothing = (m.q(m.op("Identity", x, out=name), scale=1e6, zero=0) for name in ("a", "b"))
    ratio = m.q(m.op("Div", no, nothing, out="ratio"), scale=0.1, zero=-11)
    result = verified_with(m.save(tmp_path / "m.onnx", ratio), lambda codes: codes ^ 1, "div")
    result.check()
    (gap,) = [layer for layer in result.layers if layer.differing]
    assert gap.differing == gap.elements
    assert not list(result.verdicts())


def test_infinite_values_are_rounded_without_a_warning() -> None:
    levels = np.array([np.inf, -np.inf, 2.5])
    with np.errstate(invalid="raise"):
        np.testing.assert_array_equal(rounded(levels, 1.0), [np.inf, -np.inf, 2])
