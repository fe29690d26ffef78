"""The passes run in their order, are checked, written out, and named when they fail."""

from pathlib import Path

import pytest

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.rewrite import Pass
from edgekiln.compiler.ir.validate import faults
from edgekiln.compiler.passes import pipeline
from edgekiln.compiler.passes.pipeline import (
    PASSES,
    Inspection,
    PassEntry,
    PassError,
    PassSettings,
    lower_graph,
)
from tests.compiler import float_models
from tests.compiler.passes.test_concat_in_place import fire
from tests.compiler.passes.test_fuse_residual import shortcut
from tests.compiler.passes.test_fuse_shuffle import shuffle_unit
from tests.compiler.qdq_models import QdqModel


@pytest.fixture(params=["shortcut", "shuffle", "fire", "floats"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    m, path = QdqModel(), tmp_path / "m.onnx"
    match request.param:
        case "shortcut":
            return m.save(path, shortcut(m))
        case "shuffle":
            return m.save(path, *shuffle_unit(m, 0.125))
        case "fire":
            return m.save(path, fire(m, (64, 128)))
        case _:
            return float_models.write(float_models.residual(), path)


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("integer_edges", [False, True])
def test_every_pass_leaves_a_sound_graph_and_finds_nothing_to_do_twice(
    model: Path, activation: str, integer_edges: bool
) -> None:
    settings = PassSettings(activation=activation, integer_edges=integer_edges)
    graph = import_onnx(model)
    assert faults(graph) == []
    for entry in PASSES:
        if entry.when(settings):
            entry.run(graph)
            assert faults(graph) == [], entry.name
            assert not entry.run(graph), entry.name
    for entry in PASSES:  # nor after all others
        assert not (entry.when(settings) and entry.run(graph)), entry.name


def test_names_are_given_once_and_phases_stand_together() -> None:
    names = [entry.name for entry in PASSES]
    assert len({*names}) == len(names)
    phases = [entry.phase for entry in PASSES]
    assert sorted(phases, key=phases.index) == phases


def test_dumps_are_numbered_and_name_the_pass(tmp_path: Path) -> None:
    m = QdqModel()
    path = m.save(tmp_path / "m.onnx", shortcut(m))
    home = tmp_path / "ir"
    lower_graph(import_onnx(path), "int8", inspection=Inspection(dump=home))
    files = sorted(file.name for file in home.iterdir())
    assert files[:3] == ["00-imported.txt", "01-qdq_to_integer.txt", "02-one_hot.txt"]
    assert files[-1].endswith("-concat_in_place.txt")
    assert "QuantizeLinear(x" in (home / files[0]).read_text()
    assert "conv2d(x_q)" in (home / files[1]).read_text()
    assert (home / files[2]).read_text() == (home / files[1]).read_text()  # no comparisons


def lose_an_output(graph: Graph) -> bool:
    graph.nodes.pop()
    return True


def fail(graph: Graph) -> bool:
    raise KeyError(graph.outputs[0])


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lose_an_output, "relu_dq: an output that no node makes"),
        (fail, "KeyError: 'relu_dq'"),
    ],
)
def test_a_pass_that_fails_is_named_with_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Pass, what: str
) -> None:
    m = QdqModel()
    graph = import_onnx(m.save(tmp_path / "m.onnx", shortcut(m)))
    broken = PassEntry(phase="fusion", name="broken", run=run)
    monkeypatch.setattr(pipeline, "PASSES", (*PASSES[:2], broken, *PASSES[2:]))
    with pytest.raises(PassError) as caught:
        lower_graph(graph, "int8", inspection=Inspection(check=True))
    assert caught.value.message == (f"pass broken: {what} (it ran after: qdq_to_integer, one_hot)")
