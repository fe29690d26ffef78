"""Programs with states: step by step what ONNX Runtime gives whose caller carries the states."""

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from edgekiln.compiler.evaluation.layerwise import verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.ir.program import Ref
from edgekiln.compiler.lowering.kept_states import KEEP
from edgekiln.compiler.onnx_model import door, io
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.program import LoadedProgram
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts, quantizing, stateful

TARGET = profile.load("x86-64-v3")
FLOATS = {"lstm": ["c0"], "gru": ["hidden_in"]}  # states that are added to in every step
Built = tuple[str, Path, Path]  # the kind, the model, the program


def compiled(model: Path) -> Path:
    out = model.with_suffix(".lib")
    CompileStage().run(artifacts.of(model), out, StageContext(target=TARGET, scratch=model.parent))
    return out


@pytest.fixture(scope="module", params=list(stateful.TEXTS))
def float_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    home = tmp_path_factory.mktemp(request.param)
    model = stateful.remembering(request.param, home / "m.onnx")
    return request.param, model, compiled(model)


@pytest.fixture(scope="module", params=["lstm", "gru", "ring"])
def int8_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    home = tmp_path_factory.mktemp(request.param)
    model = stateful.remembering(request.param, home / "m.onnx")
    data = stateful.streams(request.param, home / "streams.npy")
    quantizing.quantize(model, data=str(data), samples=120)
    return request.param, home / "int8.onnx", compiled(home / "int8.onnx")


def test_a_float_program_remembers(float_model: Built) -> None:
    kind, model, lib = float_model
    net = LoadedProgram(AotRunner.open(lib))
    assert [(s.tensor.name, s.output) for s in net.states] == list(stateful.PAIRS[kind])
    x = stateful.stream(kind)
    expected = stateful.by_hand(model, x)
    steps = np.stack([net(step) for step in x])
    np.testing.assert_allclose(steps, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected[1:] - expected[:-1]).max() > 0.01


def test_an_int8_program_remembers_codes(int8_model: Built) -> None:
    kind, model, lib = int8_model
    net = LoadedProgram(AotRunner.open(lib))
    assert len(net.states) == len(stateful.PAIRS[kind])
    # What is added to in every step is float.
    floats = [state.tensor.name for state in net.states if state.tensor.scale is None]
    assert floats == FLOATS.get(kind, [])
    x = stateful.stream(kind, seed=5)
    steps = np.stack([net(step) for step in x])
    # The answers are floats, sums of codes; one code elsewhere would be a thousand times more.
    np.testing.assert_allclose(steps, stateful.by_hand(model, x), rtol=2e-6, atol=2e-6)


def test_both_ends_of_a_state_have_one_scale_and_zero_point(int8_model: Built) -> None:
    kind, model, _ = int8_model
    graph = io.load_model(model).graph
    numbers = {
        node.input[0]: node.input[1:] for node in graph.node if node.op_type == "QuantizeLinear"
    }
    made = {node.output[0]: node.input for node in graph.node}
    values = {each.name: numpy_helper.to_array(each).tolist() for each in graph.initializer}
    pairs = io.read_meta(io.load_model(model)).states
    assert pairs == stateful.PAIRS[kind]
    coded = [(name, after) for name, after in pairs if name in numbers]
    assert len(coded) == len(pairs) - len(FLOATS.get(kind, []))
    same = [
        [values[each] for each in numbers[name]] == [values[each] for each in made[after][1:]]
        for name, after in coded
    ]
    assert all(same)


def test_a_reset_begins_a_stream_and_another_stream_knows_nothing_of_it(int8_model: Built) -> None:
    kind, _, lib = int8_model
    net = LoadedProgram(AotRunner.open(lib))
    x = stateful.stream(kind, seed=3)
    (first,) = net.steps(x)
    other = net.stream()
    halves = [other.steps(x[:5])[0], net.steps(x)[0], other.steps(x[5:])[0]]
    np.testing.assert_array_equal(np.concatenate([halves[0], halves[2]]), first)
    assert (halves[1] != first).any()  # it went on where it was
    net.reset()
    np.testing.assert_array_equal(net.steps(x)[0], first)


def test_whole_streams_are_verified_layer_by_layer(int8_model: Built) -> None:
    _, model, lib = int8_model
    spec = AotRunner.open(lib).spec
    batches = batches_for(spec, model, data="", seed=1, samples=32)
    found = verify(lib, model, batches)
    found.check()
    assert found.identical
    assert found.samples == 3 * stateful.STEPS
    assert [gap.max_abs < 1e-5 for gap in found.outputs] == [True]


def test_a_program_that_forgets_is_found_out(
    int8_model: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer computes what it is given, but what the whole stream gives is another answer."""
    _, model, lib = int8_model
    batches = batches_for(AotRunner.open(lib).spec, model, data="", seed=1, samples=16)
    run = AotRunner.run

    def forgetful(self: AotRunner, *arrays: np.ndarray) -> list[np.ndarray]:
        self.reset()
        return run(self, *arrays)

    monkeypatch.setattr(AotRunner, "run", forgetful)
    assert verify(lib, model, batches).outputs[0].max_abs > 0.01


def test_a_state_is_copied_only_where_it_is_read_after_it_is_made(tmp_path: Path) -> None:
    copies = {}
    for kind in stateful.TEXTS:
        model = stateful.remembering(kind, tmp_path / f"{kind}.onnx")
        context = StageContext(target=TARGET, scratch=tmp_path)
        program, _ = CompileStage().lower(artifacts.of(model), context)
        copies[kind] = sum(call.op == KEEP for call in program.calls)
        kept = {state.buffer for state in program.states}
        assert kept == {
            arg.buffer
            for call in program.calls
            for arg in call.args[-1:]
            if isinstance(arg, Ref) and arg.buffer in kept
        }
    # The new sum is there before the old one is read for the last time; the counter is counted by
    # one call, which reads and writes it.
    assert copies == {"lstm": 0, "gru": 0, "ring": 0, "sum": 2}


def test_one_call_is_one_step(float_model: Built) -> None:
    kind, _, lib = float_model
    net = LoadedProgram(AotRunner.open(lib))
    with pytest.raises(InputError, match="this array is"):
        net(stateful.stream(kind)[:, 0])


def test_a_bundle_without_states_has_no_word_of_them(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    io.save_model(stateful.plain("lstm"), model)
    found = AotRunner.open(compiled(model)).spec
    assert [each.name for each in found.inputs] == ["x", "h0", "c0"]
    assert found.states == ()


def test_a_batch_is_as_many_streams(tmp_path: Path) -> None:
    """The batch has a name, which a state may have on any of its axes."""
    model = stateful.plain("ring")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    io.save_model(model, tmp_path / "ring.onnx")
    io.save_model(door.enter(tmp_path / "ring.onnx").model, tmp_path / "m.onnx")
    out = tmp_path / "three.lib"
    context = StageContext(target=TARGET, scratch=tmp_path)
    CompileStage(batch=3).run(artifacts.of(tmp_path / "m.onnx"), out, context)
    net = LoadedProgram(AotRunner.open(out))
    (state,) = net.states
    assert (net.inputs[0].shape, state.tensor.shape) == ((3, 4, 1, 1), (3, 4, 1, 4))
    streams = [stateful.stream("ring", seed=seed) for seed in range(3)]
    found = np.asarray(net.steps(np.concatenate(streams, axis=1))[0], np.float32)
    alone = stateful.remembering("ring", tmp_path / "one.onnx")
    for place, x in enumerate(streams):
        expected = stateful.by_hand(alone, x)[:, 0]
        np.testing.assert_allclose(found[:, place], expected, rtol=1e-5, atol=1e-6)
