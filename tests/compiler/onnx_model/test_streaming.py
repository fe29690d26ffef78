"""The streaming form gives, call by call, what the model gives for each whole window."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekiln.compiler.onnx_model import door, io
from edgekiln.compiler.onnx_model.stream_session import StreamSession
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.program import LoadedProgram
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts

TARGET = profile.load("x86-64-v3")

# Frames of 6 features along axis 2, as of a wake word's network: dilation, a residual that is cut
# to fit, a stride, a mean over what is left.
BODIES = {
    "dilated": (
        "float[N, 6, 27] x",
        """
        a = Conv <kernel_shape = [3]> (x, w1, b1)
        r = Relu (a)
        b = Conv <kernel_shape = [3], dilations = [2]> (r, w2)
        late = Slice (r, four, end, two)
        s = Add (b, late)
        t = HardSwish (s)
        p = MaxPool <kernel_shape = [3]> (t)
        m = ReduceMean <keepdims = 0> (p, two)
        y = Gemm <transB = 1> (m, v)
        """,
        {"w1": (8, 6, 3), "b1": (8,), "w2": (8, 8, 3), "v": (4, 8)},
        2, 1,
    ),
    "strided": (
        "float[N, 1, 20, 5] x",
        """
        a = Conv <kernel_shape = [4, 3], strides = [2, 1], pads = [0, 1, 0, 1]> (x, w1)
        r = Relu (a)
        b = Conv <kernel_shape = [3, 3], pads = [0, 1, 0, 1]> (r, w2)
        f = Flatten (b)
        y = Gemm <transB = 1> (f, v)
        """,
        {"w1": (4, 1, 4, 3), "w2": (4, 4, 3, 3), "v": (3, 4 * 7 * 5)},
        2, 2,
    ),
    "padded": (
        "float[N, 6, 12] x",
        """
        a = Conv <kernel_shape = [3]> (x, w1)
        r = Relu (a)
        b = Conv <kernel_shape = [3], pads = [1, 1]> (r, w2)
        s = Add (b, r)
        m = ReduceMean <keepdims = 0> (s, two)
        y = Gemm <transB = 1> (m, v)
        """,
        {"w1": (8, 6, 3), "w2": (8, 8, 3), "v": (4, 8)},
        2, 1,
    ),
    "rows": (
        "float[N, 9, 6] x",
        """
        h = MatMul (x, w1)
        n = LayerNormalization (h, gain)
        t = Transpose <perm = [0, 2, 1]> (n)
        c = Conv <kernel_shape = [3]> (t, w2)
        y = Tanh (c)
        """,
        {"w1": (6, 8), "gain": (8,), "w2": (5, 8, 3)},
        1, 1,
    ),
}  # fmt: skip


def window(kind: str, path: Path) -> Path:
    inputs, body, shapes, _, _ = BODIES[kind]
    results = {"rows": "float[N, 5, 7] y", "padded": "float[N, 4] y"}
    result = results.get(kind, f"float[N, {shapes['v'][0] if 'v' in shapes else 1}] y")
    text = f'<ir_version: 8, opset_import: ["" : 20]>\nm ({inputs}) => ({result}) {{{body}}}'
    model = onnx.parser.parse_model(text)
    draw = np.random.default_rng(0)
    arrays = {k: draw.normal(0, 0.5, shape).astype(np.float32) for k, shape in shapes.items()}
    numbers = {"two": [2], "four": [4], "end": [1 << 40]}
    arrays |= {key: np.array(value) for key, value in numbers.items()}
    read = {name for node in model.graph.node for name in node.input}
    for name, array in arrays.items():
        if name in read:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    io.save_model(model, path)
    return path


def stream_of(kind: str) -> str:
    _, _, _, axis, step = BODIES[kind]
    return f"x={axis}:{step}"


def length(kind: str, path: Path) -> int:
    shape = io.load_model(path).graph.input[0].type.tensor_type.shape
    return int(shape.dim[BODIES[kind][3]].dim_value)


def sound(kind: str, path: Path, count: int = 60) -> np.ndarray:
    """(1, …) with `count` frames along the axis."""
    shape = [
        d.dim_value or 1 for d in io.load_model(path).graph.input[0].type.tensor_type.shape.dim
    ]
    shape[BODIES[kind][3]] = count
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def cut(kind: str, x: np.ndarray, size: int) -> np.ndarray:
    """All windows of a size, (T, …), each a step behind the one before."""
    _, _, _, axis, step = BODIES[kind]
    starts = range(0, x.shape[axis] - size + 1, step)
    return np.concatenate([np.take(x, range(i, i + size), axis) for i in starts])


def whole_windows(path: Path, windows: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": each[None]})[0] for each in windows])


@pytest.mark.parametrize("kind", list(BODIES))
def test_each_call_answers_for_the_last_window(kind: str, tmp_path: Path) -> None:
    path = window(kind, tmp_path / "m.onnx")
    entered = door.enter(path, window=stream_of(kind))
    x, size = sound(kind, path), length(kind, path)
    session = StreamSession(entered.model, optimize=False)
    (found,) = session({"x": cut(kind, x, BODIES[kind][4])[:, None]})
    expected = whole_windows(path, cut(kind, x, size))
    late = size // BODIES[kind][4] - 1  # until the window is full
    np.testing.assert_allclose(found[late:], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found[:late] - expected[0]).max() > 0.01


def test_what_can_works_on_new_frames_alone(tmp_path: Path) -> None:
    notes = {}
    for kind in BODIES:
        path = window(kind, tmp_path / f"{kind}.onnx")
        notes[kind] = door.enter(path, window=stream_of(kind)).notes
    kept = {kind: found[0] for kind, found in notes.items()}
    assert kept["dilated"] == (
        "streaming: x takes 1 new of 27 frames on axis 2, 4 tensors keep what is older"
    )
    assert [found[1:] for found in notes.values()] == [
        ("on the whole window: ReduceMean m",),
        ("on the whole window: Flatten f",),
        ("on the whole window: Conv b, Add s",),
        ("on the whole window: output y",),
    ]


@pytest.mark.parametrize("kind", ["dilated", "strided"])
def test_an_int8_program_has_the_codes_of_the_whole_window(kind: str, tmp_path: Path) -> None:
    """Of one quantized model, both ways: where all answers are codes, all of them are equal."""
    path = window(kind, tmp_path / "m.onnx")
    np.save(tmp_path / "w.npy", cut(kind, sound(kind, path, 120), length(kind, path)))
    int8 = tmp_path / "int8.onnx"
    QuantizeStage(data=str(tmp_path / "w.npy")).run(
        artifacts.of(path), int8, StageContext(scratch=tmp_path)
    )
    streaming = tmp_path / "streaming.onnx"
    io.save_model(door.enter(int8, window=stream_of(kind)).model, streaming)
    nets = [compiled(each) for each in (int8, streaming)]
    states = nets[1].states
    assert len(states) > 1
    # What is codes in the int8 model is remembered as codes.
    assert all(state.tensor.scale is not None for state in states)
    x, size = sound(kind, path), length(kind, path)
    expected = np.stack([nets[0](each[None]) for each in cut(kind, x, size)])[:, 0]
    found = np.stack([nets[1](each[None]) for each in cut(kind, x, BODIES[kind][4])])[:, 0]
    np.testing.assert_array_equal(found[size // BODIES[kind][4] - 1 :], expected)
    macs = [sum(layer.macs for layer in net.runner.spec.layers) for net in nets]  # type: ignore[attr-defined]
    assert macs[1] < macs[0] / 3


def compiled(model: Path) -> LoadedProgram:
    out = model.with_suffix(".lib")
    CompileStage().run(artifacts.of(model), out, StageContext(target=TARGET, scratch=model.parent))
    return LoadedProgram(AotRunner.open(out))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "--stream x: is no input and axis"),
        ("q=2:1", "--stream q=2:1: is no input and axis"),
        ("x=2:" + "9" * 5000, f"--stream x=2:{'9' * 5000}: is no input and axis"),
        ("x=2", "--stream x=2: is no input and axis"),
        ("x=0:1", "--stream x=0:1: 'x' has the shape ('N', 6, 27)"),
        ("x=2:27", "--stream x=2:27: 'x' has the shape ('N', 6, 27)"),
        ("x=3:1", "--stream x=3:1: 'x' has the shape ('N', 6, 27)"),
    ],
)
def test_a_wrong_window_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = window("dilated", tmp_path / "m.onnx")
    with pytest.raises(ConfigError) as caught:
        door.enter(path, window=text)
    assert caught.value.message == message


# As a voice activity detector: a window that slides, and what is known of all windows before.
_BOTH = """
<ir_version: 8, opset_import: ["" : 20]>
m (float[1, 24] x, float[1, 6] state) => (float[1, 6] y, float[1, 6] stateN) {
    row = Unsqueeze (x, one)
    c = Conv <kernel_shape = [8], strides = [8]> (row, w)
    r = Relu (c)
    m = ReduceMean <keepdims = 0> (r, last)
    stateN = Add (m, state)
    y = Tanh (stateN)
}
"""


def test_a_window_slides_beside_what_the_model_itself_remembers(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(_BOTH)
    draw = np.random.default_rng(0)
    arrays = {
        "w": draw.normal(size=(6, 1, 8)).astype(np.float32), "one": np.array([1]),
        "last": np.array([2]),
    }  # fmt: skip
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    io.save_model(model, tmp_path / "m.onnx")
    whole = door.enter(tmp_path / "m.onnx").model
    entered = door.enter(tmp_path / "m.onnx", window="x=1:8")
    assert entered.notes[0].startswith("states: state=stateN (by their names")
    assert entered.notes[1].startswith("streaming: x takes 8 new of 24 frames on axis 1")
    x = draw.normal(size=(1, 8 * 12)).astype(np.float32)
    new = np.stack([x[:, i : i + 8] for i in range(0, x.shape[1], 8)])
    padded = np.concatenate([np.zeros((1, 16), np.float32), x], axis=1)
    windows = np.stack([padded[:, i : i + 24] for i in range(0, x.shape[1], 8)])
    (expected,) = StreamSession(whole, optimize=False)({"x": windows})
    (found,) = StreamSession(entered.model, optimize=False)({"x": new})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="'state' is a state"):
        door.enter(tmp_path / "m.onnx", window="state=1:2")


def test_a_streaming_form_has_no_streaming_form(tmp_path: Path) -> None:
    path = window("dilated", tmp_path / "m.onnx")
    io.save_model(door.enter(path, window="x=2:1").model, tmp_path / "s.onnx")
    with pytest.raises(ConfigError, match="the model remembers already"):
        door.enter(tmp_path / "s.onnx", window="x=2:1")
