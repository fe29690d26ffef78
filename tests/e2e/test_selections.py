"""TopK, ArgMax and ArgMin in compiled models: bit by bit what ONNX Runtime chooses, ties too."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler.lowering.programs import reference
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build

FEW = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
CODES = 2.0**-4  # a scale by which codes and floats are the same values


@dataclass(frozen=True, kw_only=True)
class Selection:
    """One operator on a tensor of its own; `values` are few, so that many are equal."""

    op: str
    shape: tuple[int, ...]
    axis: int
    keepdims: int
    count: int
    largest: int
    quantized: bool
    values: str


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """Any rank, axis and extent; extremes and ties."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    quantized = draw(st.booleans())
    return Selection(
        op=draw(st.sampled_from(["TopK", "ArgMax", "ArgMin"])),
        shape=shape,
        axis=axis,
        keepdims=draw(st.integers(0, 1)),
        count=draw(st.integers(1, shape[axis])),
        largest=draw(st.integers(0, 1)),
        quantized=quantized,
        values=draw(st.sampled_from(["equal", "few", "extreme", "any"])),
    )


def written(cases: list[Selection], path: Path) -> Path:
    """A model with an input and outputs for each."""
    m = QdqModel(dtype="int8")
    given_names = []
    for i, case in enumerate(cases):
        x = m.input(f"x{i}", *case.shape)
        read = m.q(x, scale=CODES, zero=-3) if case.quantized else x
        if case.op == "TopK":
            count = m.const([case.count], "int64")
            m.op("TopK", read, count, out=f"best{i}", axis=case.axis, largest=case.largest)
            m.nodes[-1].output.append(f"places{i}")
            given_names += [f"best{i}", f"places{i}"]
        else:
            m.op(case.op, read, out=f"places{i}", axis=case.axis, keepdims=case.keepdims)
            given_names.append(f"places{i}")
    assert {value.type.tensor_type.elem_type for value in m.inputs} == {TensorProto.FLOAT}
    onnx.checker.check_model(onnx.load(m.save(path, *given_names)))
    return path


def drawn(case: Selection, rng: np.random.Generator) -> np.ndarray:
    extremes = [-7.8125, 8.125] if case.quantized else [-np.inf, np.inf, -0.0, 0.0]
    kinds = {"equal": [1.0], "few": [-1.0, 0.0, 0.5], "extreme": extremes}
    if case.values in kinds:
        return rng.choice(np.array(kinds[case.values], np.float32), case.shape)
    return rng.normal(0, 3, case.shape).astype(np.float32)


@FEW
@given(cases=st.lists(selections(), min_size=12, max_size=12), seed=st.integers(0, 2**16))
def test_what_is_chosen_is_what_onnx_runtime_chooses(cases: list[Selection], seed: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        model = written(cases, Path(home) / "m.onnx")
        program = AotRunner.open(build(model, profile.load("host")))
        rng = np.random.default_rng(seed)
        for _ in range(4):
            arrays = [drawn(case, rng) for case in cases]
            wanted = reference(model, *arrays)
            found = program.run(*arrays)
            assert len(found) == len(wanted)
            for ours, theirs, output in zip(found, wanted, program.spec.outputs, strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=f"{output.name}: {cases}")
