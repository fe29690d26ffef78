"""What a sequence of classes says, against ONNX Runtime's operators and against plain Python."""

from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.sequences import CtcCollapseKernel
from edgekiln.compiler.onnx_model import own_functions
from edgekiln.compiler.onnx_model.ends.functions import DOMAIN
from edgekiln.compiler.onnx_model.session import Session
from tests.compiler.kernels.harness import microkernel, quick, run
from tests.compiler.kernels.test_suppression import somewhere

Array = NDArray[Any]


@st.composite
def paths(draw: st.DrawFn) -> tuple[CtcCollapseKernel, Array]:
    """Few classes, so that many are repeated, and a blank that is one of them, or none."""
    outer, steps = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    classes = draw(st.integers(1, 4))
    rows = st.lists(st.integers(0, classes - 1), min_size=steps, max_size=steps)
    path = draw(st.lists(rows, min_size=outer, max_size=outer))
    kernel = CtcCollapseKernel(outer=outer, steps=steps, blank=draw(st.integers(0, classes)))
    return kernel, np.array(path, np.int64)


def decoded(kernel: CtcCollapseKernel, path: Array) -> list[list[int]]:
    """Graves' mapping, word by word."""
    return [[c for c, _ in groupby(row) if c != kernel.blank] for row in path.tolist()]


def onnx_runtimes(kernel: CtcCollapseKernel, path: Array) -> list[Array]:
    """What the functions beside the nodes compute."""
    nodes = [
        helper.make_node("CtcCollapse", ["path"], ["symbols"], domain=DOMAIN, blank=kernel.blank),
        helper.make_node("CountedSymbols", ["symbols"], ["length"], domain=DOMAIN),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name, shape in (("path", path.shape), ("symbols", path.shape), ("length", [len(path)]))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "sequence", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
    )  # fmt: skip
    own_functions.declare(model)
    return Session(model, optimize=False)(path)


@somewhere
@quick
@given(paths())
@example((CtcCollapseKernel(outer=1, steps=6, blank=0), np.array([[1, 1, 0, 1, 2, 2]])))
@example((CtcCollapseKernel(outer=2, steps=1, blank=0), np.array([[0], [1]])))
def test_repetitions_become_one_and_blanks_go(
    name: str, case: tuple[CtcCollapseKernel, Array]
) -> None:
    kernel, path = case
    rows = Nhwc(n=kernel.outer, h=1, w=1, c=kernel.steps, dtype="int64")
    found = run(kernel.build(microkernel(name)), name, [path.reshape(-1)], rows)
    symbols, length = onnx_runtimes(kernel, path)
    np.testing.assert_array_equal(found.reshape(symbols.shape), symbols)
    right = decoded(kernel, path)
    assert length.tolist() == [len(row) for row in right]
    assert symbols.tolist() == [row + [-1] * (kernel.steps - len(row)) for row in right]
