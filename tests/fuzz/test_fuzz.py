"""Damaged inputs, a few of each kind; `python -m edgekiln.benchmarks.fuzz` runs thousands."""

import multiprocessing
import os
import random
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from edgekiln.benchmarks.fuzz import __main__ as command
from edgekiln.benchmarks.fuzz.kinds import KINDS
from edgekiln.benchmarks.fuzz.mutate import damaged_model
from edgekiln.benchmarks.fuzz.run import Finding, cases, prepare, whole
from edgekiln.benchmarks.isolated import BAD, Verdict, isolated
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.ort_runner import OrtRunner

COUNT = {"onnx": 60, "quantize": 30, "store": 10}  # of the others: 20


def findings(kind: str, home: Path) -> list[Finding]:
    """Of the whole seeds, then of damaged ones; in a process of its own, for cases fork."""
    reading, writing = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        seeds = prepare(home)
        numbers = range(COUNT.get(kind, 20))
        writing.send([[*whole(kind, seeds)], [*cases(kind, 0, numbers, seeds, home / "bad")]])
        os._exit(0)
    writing.close()
    try:
        answer: list[list[Finding]] = reading.recv()
    finally:
        os.waitpid(child, 0)
    intact, damaged = answer
    assert [f for f in intact if f.verdict != "right"] == []
    return damaged


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_answered_rightly_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    found = findings(kind, tmp_path)
    assert [f for f in found if f.verdict in BAD] == []
    assert all(f.detail for f in found if f.verdict == "refused")


def test_half_floats_for_which_onnxruntime_has_no_kernel_are_judged_in_float32(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["h"]),
        helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
    ]
    half = TensorProto.BFLOAT16
    weights = [
        helper.make_tensor("scale", half, [], [0.0625]),
        helper.make_tensor("zero", TensorProto.INT8, [], [3]),
    ]
    nodes.insert(0, helper.make_node("Cast", ["input"], ["x"], to=half))
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8]) for n in ("input", "y")]
    graph = helper.make_graph(nodes, "half", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    file = tmp_path / "half.onnx"
    onnx.save(model, file)
    with pytest.raises(InputError, match="NOT_IMPLEMENTED"):
        OrtRunner(file)
    assert KINDS["onnx"].judge(file, tmp_path, prepare(tmp_path / "seeds")) == ("right", "")


def _traceback() -> tuple[Verdict, str]:
    raise KeyError("nowhere")


def _crash() -> tuple[Verdict, str]:
    os.abort()


def _hang() -> tuple[Verdict, str]:
    while True:
        pass


def _greedy() -> tuple[Verdict, str]:
    return "right", str(len(bytearray(8 << 30)))


def test_the_harness_sees_what_it_must_see() -> None:
    verdict, detail = isolated(_traceback)
    assert verdict == "traceback"
    assert detail.startswith("KeyError: 'nowhere' (test_fuzz.py:")
    assert isolated(_crash)[0] == "crash"
    assert isolated(_hang, seconds=1) == ("hang", "more than 1 s")
    assert isolated(_greedy)[1].startswith("MemoryError")


def test_a_model_that_has_lost_its_inputs_and_outputs_is_damaged_further() -> None:
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    )
    content = model.SerializeToString()
    found = {damaged_model(content, random.Random(seed)) for seed in range(200)}
    assert len(found) > 20


def test_a_process_that_dies_fails_the_run_and_leaves_the_others_their_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_dies(
        _kind: str, _seed: int, numbers: range, seeds: Path, _keep: Path
    ) -> Iterator[Finding]:
        if numbers.start == 0:
            raise IndexError("drawn from nothing")
        for number in numbers:
            said = (seeds / "seed").read_text()
            yield Finding(kind="onnx", number=number, file="a", verdict="right", detail=said)

    def prepare_one(home: Path) -> Path:
        (home / "seed").write_text("whole")
        return home

    monkeypatch.setattr(command, "prepare", prepare_one)
    monkeypatch.setattr(command, "cases", one_dies)
    words = [str(tmp_path), "--kind", "onnx", "--count", "100", "--jobs", "2"]
    result = CliRunner().invoke(command.main, words)
    assert result.exit_code == 1
    assert "onnx: 50 cases: 50 right" in result.output
    assert "1 of 2 processes died before their last case" in result.output
