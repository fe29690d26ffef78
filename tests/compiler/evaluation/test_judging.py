"""A right program is not called wrong because ONNX Runtime is, and a wrong one is still found."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekiln.compiler.evaluation.difference import APART, TensorDifference
from edgekiln.compiler.evaluation.judgement import Judgement
from edgekiln.compiler.evaluation.layerwise import Verification, verify
from edgekiln.compiler.evaluation.parity import batches_for, links
from edgekiln.compiler.evaluation.referee import Referee, rounded
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime import host, manifest
from edgekiln.runtime.bundle import read_program, write_lib
from edgekiln.runtime.codec import to_json
from edgekiln.runtime.errors import MismatchError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.compiler.qdq_models import QdqModel

TARGET = "x86-64-v3"
pytestmark = pytest.mark.skipif(
    not set(profile.load(TARGET).features) <= host.cpu_flags(), reason=f"no {TARGET} here"
)


def compiled(model: Path) -> Path:
    out = model.with_suffix(".lib")
    CompileStage().run(
        artifacts.of(model), out, StageContext(target=profile.load(TARGET), scratch=model.parent)
    )
    return out


def verified(model: Path, program: Path | None = None) -> Verification:
    program = program or compiled(model)
    batches = batches_for(AotRunner.open(program).spec, model, data="", seed=1, samples=8)
    return verify(program, model, batches)


def pooled(path: Path, kind: str = "AveragePool", scale: float = 0.0273, **attributes: Any) -> Path:
    """A pool between two quantizations of one scale: averages of codes, a quarter of them ties."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 16, 16), scale=scale, zero=3)
    y = m.q(m.op(kind, x, out="pool", **attributes), scale=scale, zero=3)
    m.save(path, y)
    return path


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [4, 4], "strides": [4, 4]}),
        ("GlobalAveragePool", {}),
    ],
)
@pytest.mark.parametrize("scale", [0.0273, 0.11])
def test_ties_of_averages_are_decided_exactly(
    tmp_path: Path, kind: str, attributes: dict[str, object], scale: float
) -> None:
    model = pooled(tmp_path / "pool.onnx", kind, scale, **attributes)
    result = verified(model)
    result.check()
    for each in result.judged:
        assert each.program_off == 0
        assert each.onnxruntime_is_off


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 3], "strides": [2, 3]},
        {"kernel_shape": [2, 7], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ],
)
def test_ties_that_no_float_holds_may_go_either_way(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    """A sixth is no float32, so the middle between two codes is neither engine's to hit."""
    result = verified(pooled(tmp_path / "pool.onnx", **attributes))
    result.check()
    assert [each.program_off for each in result.judged] == [0] * len(result.judged)


def test_onnx_runtime_is_named_where_it_is_off(tmp_path: Path) -> None:
    model = pooled(tmp_path / "pool.onnx", kernel_shape=[2, 2], strides=[2, 2])
    result = verified(model)
    (judged,) = result.judged
    gap = next(layer for layer in result.layers if layer.name == judged.name)
    assert not gap.ok
    assert (judged.program_off, judged.onnxruntime_off) == (0, gap.differing)
    (line,) = result.verdicts()
    assert line == (
        f"ONNX Runtime is off in {judged.name} (avg_pool), exact arithmetic says: "
        f"{gap.differing} of its {gap.elements} values are others, 0 of the program's"
    )


def test_a_wrong_program_is_still_refused(tmp_path: Path) -> None:
    """One that takes the maximum, and says that it was made from the model of averages."""
    window: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    model = pooled(tmp_path / "right.onnx", **window)
    wrong = compiled(pooled(tmp_path / "wrong.onnx", "MaxPool", **window))
    right, _ = read_program(compiled(model))
    spec, files = read_program(wrong)
    forged = manifest.text_of(replace(spec, model_sha256=right.model_sha256)).encode()
    write_lib(wrong, {**files, "program.json": forged})
    result = verified(model, wrong)
    assert result.judged
    assert not any(each.ok or each.onnxruntime_is_off for each in result.judged)
    with pytest.raises(MismatchError, match="values differ from ONNX Runtime"):
        result.check()


def test_a_value_that_is_two_outputs_is_compared_as_both(tmp_path: Path) -> None:
    path = pooled(tmp_path / "net.onnx", kernel_shape=[2, 2])
    model = onnx.load(path)
    model.graph.output.append(model.graph.output[0])
    onnx.save(model, path)
    result = verified(path)
    result.check()
    assert [gap.differing for gap in result.outputs] == [result.outputs[0].differing] * 2
    assert result.agreement == 1.0


def test_small_sigmoids_are_judged_by_float64(tmp_path: Path) -> None:
    """ONNX Runtime's are an approximation, off by 1e-4 of the value where that is small."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 64)) for name in ("x", "y"))
    bias = helper.make_tensor("b", TensorProto.FLOAT, (1,), [-10.0])
    nodes = [
        helper.make_node("Add", ["x", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [bias])
    model = tmp_path / "sigmoid.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), model)
    result = verified(model)
    result.check()
    (judged,) = result.judged
    assert judged.max_steps is None
    assert judged.sqnr_db is not None
    assert judged.sqnr_db > 120
    assert judged.onnxruntime_sqnr_db is not None
    assert judged.onnxruntime_sqnr_db < 80
    assert "its SQNR is " in next(result.verdicts())


def test_a_layer_that_no_reference_computes_is_held_against_onnx_runtime() -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], domain="com.example")
    graph = helper.make_graph([node], "g", [], [])
    referee = Referee(helper.make_model(graph), {"x"})
    assert referee.judge("y", {"x": np.zeros(3, np.float32)}) is None


def test_the_middle_between_two_codes_goes_to_the_even_one() -> None:
    levels = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.5 + 1e-12, 1.5 - 1e-12, 0.5001, 1.4999])
    np.testing.assert_array_equal(rounded(levels), [0, 2, 2, 0, -2, 0, 2, 1, 1])


def judgement(**changes: object) -> Judgement:
    plain = Judgement(
        name="y", op="conv2d", elements=1000, program_off=0, onnxruntime_off=100, max_steps=0.0,
        sqnr_db=None, onnxruntime_sqnr_db=30.0,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"program_off": 1, "max_steps": 1.0}, False),
        ({"max_steps": None, "sqnr_db": 80.0}, True),
        ({"max_steps": None, "sqnr_db": 79.9}, False),
    ],
)
def test_a_program_is_judged_by_what_is_exact(changes: dict[str, object], ok: bool) -> None:
    assert judgement(**changes).ok is ok


def test_what_is_no_number_is_equal_to_its_like_and_far_from_all_else() -> None:
    nan, inf = np.nan, np.inf
    same = TensorDifference()
    same.add(np.array([nan, inf, -inf, 1.0]), np.array([nan, inf, -inf, 1.0]))
    assert (same.differing, same.max_abs, same.sqnr_db) == (0, 0.0, None)
    for ours, theirs in ((nan, 1.0), (1.0, nan), (inf, -inf), (inf, 1.0), (nan, inf)):
        other = TensorDifference()
        other.add(np.array([ours, 2.0]), np.array([theirs, 2.0]))
        assert (other.elements, other.differing, other.max_abs) == (2, 1, APART)
        assert other.sqnr_db is not None
        assert other.sqnr_db < 0
        json.dumps([other.max_abs, other.sqnr_db], allow_nan=False)


def test_links_of_outputs_that_are_no_numbers_can_be_printed() -> None:
    batch = {"x": np.zeros((1, 2), np.float32)}
    models = [
        ("a", lambda _: np.array([[np.nan, 1.0]], np.float32)),
        ("b", lambda _: np.array([[np.nan, 1.0]], np.float32)),
        ("c", lambda _: np.array([[0.0, np.inf]], np.float32)),
    ]
    equal, apart = links(models, [batch])
    assert (equal.max_abs, equal.sqnr_db) == (0.0, None)
    assert apart.max_abs == APART
    to_json([equal, apart])


def test_scalars_are_linked_like_rows() -> None:
    models = [
        ("a", lambda _: np.array(1.0, np.float32)),
        ("b", lambda _: np.array(1.5, np.float32)),
    ]
    (link,) = links(models, [{"x": np.zeros((1, 2), np.float32)}])
    assert link.max_abs == 0.5


def test_what_float32_cannot_tell_from_a_tie_may_go_either_way() -> None:
    near, far = 2.0**-15, 2.0**-13
    levels = np.array([2.5, 2.5 + near, 2.5 - near, 2.5 + far, 2.5 - far])
    np.testing.assert_array_equal(rounded(levels), [2, 3, 2, 3, 2])
    np.testing.assert_array_equal(rounded(levels, -1), [2, 2, 2, 3, 2])
    np.testing.assert_array_equal(rounded(levels, 1), [2, 3, 3, 3, 2])
    np.testing.assert_array_equal(rounded(levels, -1, ties=True), [2, 2, 2, 3, 2])
    np.testing.assert_array_equal(rounded(levels, 1, ties=True), [3, 3, 3, 3, 2])


def test_a_few_values_that_are_one_step_off_and_no_ties_are_not_let_pass(tmp_path: Path) -> None:
    """Fewer than ties may be: the program's table of a function has one wrong entry."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 16, 16), scale=0.05, zero=3)
    y = m.q(m.op("Sigmoid", x, out="s"), scale=1 / 256, zero=-128)
    m.save(tmp_path / "m.onnx", y)
    program = compiled(tmp_path / "m.onnx")
    verified(tmp_path / "m.onnx", program).check()
    batches = batches_for(
        AotRunner.open(program).spec, tmp_path / "m.onnx", data="", seed=1, samples=8
    )
    real = AotRunner.layer_output

    def off(self: AotRunner, layer: manifest.Layer) -> Any:
        found = real(self, layer)
        if found is not None and layer.op == "lookup":
            # One code in three places.
            flat: Any = found.copy().reshape(-1)
            flat[np.flatnonzero(flat == flat[0])[:3]] += 1
            return flat.reshape(found.shape)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AotRunner, "layer_output", off)
        result = verify(program, tmp_path / "m.onnx", batches)
    (wrong,) = [gap for gap in result.layers if gap.differing]
    assert wrong.ok
    with pytest.raises(MismatchError, match="differ from ONNX Runtime"):
        result.check()
