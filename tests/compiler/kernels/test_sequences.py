"""What a sequence of classes says, against ONNX Runtime's operators and against plain Python."""

from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.sequences import CtcCollapseKernel, HysteresisKernel
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


def with_hysteresis(kernel: HysteresisKernel, stream: Array) -> list[list[bool]]:
    """Decisions of a stream, (T, elements): by a flag and a count of each score."""
    flags, counts = [False] * kernel.elements, [0] * kernel.elements
    on, off = np.float32(kernel.on), np.float32(kernel.off)
    found = []
    for row in stream:
        for i, score in enumerate(row):
            wants = score < off if flags[i] else score >= on
            counts[i] = counts[i] + 1 if wants else 0
            if counts[i] >= kernel.steps:
                flags[i], counts[i] = not flags[i], 0
        found.append(list(flags))
    return found


@st.composite
def streams(draw: st.DrawFn) -> tuple[HysteresisKernel, Array]:
    """Scores on a coarse grid, so that many are a threshold itself; some are no numbers."""
    elements, steps = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    on = draw(st.sampled_from([0.5, 0.1, -1.0, 0.0]))
    kernel = HysteresisKernel(
        elements=elements, on=on, off=on - draw(st.sampled_from([0.0, 0.5])),
        steps=draw(st.integers(1, 4)),
    )  # fmt: skip
    scores = st.sampled_from([-2.0, -1.5, -0.5, -0.4, 0.0, 0.1, 0.3, 0.5, 9.0, np.nan, np.inf])
    rows = st.lists(scores, min_size=elements, max_size=elements)
    stream = draw(st.lists(rows, min_size=steps, max_size=steps))
    return kernel, np.array(stream, np.float32)


def hysteresis_model(kernel: HysteresisKernel) -> Session:
    """The function beside the node."""
    shape = [kernel.elements]
    names = ("on", "off", "steps")
    node = helper.make_node("Hysteresis", ["x", "state", *names], ["next"], domain=DOMAIN)
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        for name, value in zip(names, (kernel.on, kernel.off, kernel.steps), strict=True)
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("x", "state", "next")
    ]
    model = helper.make_model(
        helper.make_graph([node], "hysteresis", values[:2], values[2:], weights),
        opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
    )  # fmt: skip
    own_functions.declare(model)
    return Session(model, optimize=False)


@quick
@given(streams())
def test_decisions_change_at_two_thresholds_after_some_steps(
    case: tuple[HysteresisKernel, Array],
) -> None:
    kernel, stream = case
    session = hysteresis_model(kernel)
    state = np.zeros(kernel.elements, np.float32)
    decisions = []
    for scores in stream:
        state = session({"x": scores, "state": state})[0].astype(np.float32)
        decisions.append((state < 0).tolist())
    assert decisions == with_hysteresis(kernel, stream)


@somewhere
@quick
@given(streams(), st.integers(0, 2**16))
def test_a_step_leaves_what_onnx_runtime_leaves(
    name: str, case: tuple[HysteresisKernel, Array], seed: int
) -> None:
    kernel, stream = case
    flags = np.random.default_rng(seed).integers(-kernel.steps, kernel.steps, kernel.elements)
    state = flags.astype(np.float32)
    rows = Nhwc(n=1, h=1, w=1, c=kernel.elements, dtype="float32")
    left = run(kernel.build(microkernel(name)), name, [stream[0], state], rows)
    (wanted,) = hysteresis_model(kernel)({"x": stream[0], "state": state})
    np.testing.assert_array_equal(left, wanted)
