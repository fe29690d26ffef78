"""What no program can hold is refused by the name of what is wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.runtime.errors import EdgeKilnError, UnsupportedError
from tests.compiler import float_models
from tests.compiler.lowering.programs import program
from tests.compiler.qdq_models import QdqModel


@pytest.mark.parametrize(
    ("given", "inside", "named"),
    [
        ("float", "uint4", r"operator Cast \('a'\) is of uint4, which only weights can be"),
        ("float", "float8e4m3fn", r"operator Cast \('a'\) is of float8_e4m3fn"),
        ("int4", "float", r"input \('x'\) is of int4, which only weights can be"),
    ],
)
def test_numbers_that_no_memory_of_a_program_holds_are_refused_by_name(
    tmp_path: Path, given: str, inside: str, named: str
) -> None:
    kind = {"uint4": 21, "float8e4m3fn": 17, "float": 1}[inside]
    text = (
        f'<ir_version: 10, opset_import: ["" : 21]> m ({given}[1, 4] x) => (float[1, 4] y) '
        f"{{a = Cast <to: int = {kind}> (x) y = Cast <to: int = 1> (a)}}"
    )
    onnx.save(onnx.parser.parse_model(text), path := tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=named):
        program(path)


@pytest.mark.parametrize("scale", [-0.05, 0.0, float("nan"), float("inf")])
def test_a_scale_that_no_codes_have_is_refused_by_name(tmp_path: Path, scale: float) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4), scale=0.05)
    y = m.q(m.op("Relu", x, out="relu"), scale=0.07)
    model = onnx.load(m.save(tmp_path / "m.onnx", y))
    constants = {weight.name: weight for weight in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    constants[first.input[1]].CopyFrom(
        onnx.numpy_helper.from_array(np.array(scale, np.float32), first.input[1])
    )
    with pytest.raises(EdgeKilnError, match=r"scale|infinite|NaN"):
        program(float_models.write(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('MaxPool <kernel_shape = [2, 2], auto_pad = "nearest"> (x)', "auto_pad = 'nearest'"),
        ('Resize <mode = "bilinear"> (x, , s)', "mode = 'bilinear'"),
        ('DepthToSpace <blocksize = 2, mode = "RCD"> (x)', "mode = 'RCD'"),
    ],
)
def test_a_word_that_onnx_does_not_know_is_refused(tmp_path: Path, call: str, said: str) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 18]> m (float[1, 4, 6, 6] x) => (float[N, C, H, W] y) '
        f"<float[4] s = {{1, 1, 2, 2}}> {{y = {call}}}"
    )
    onnx.save(onnx.parser.parse_model(text), path := tmp_path / "m.onnx")
    with pytest.raises(EdgeKilnError, match=f"has {said}, which is none of"):
        program(path)


def test_a_result_that_is_not_computed_is_named(tmp_path: Path) -> None:
    """A MaxPool without its places is computed; with them it is refused, and the places say why."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        m (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y, int64[1, 3, 4, 4] places)
        { y, places = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) }
    """
    onnx.save(onnx.parser.parse_model(text), path := tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=r"with the result 'places', too, is not supported"):
        program(path)
