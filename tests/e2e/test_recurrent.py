"""Int8 models with LSTM and GRU: the bits of ONNX Runtime, from ONNX and from torch's exporters."""

import io as text_io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekiln.compiler.evaluation.layerwise import verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.lowering import recurrent
from edgekiln.compiler.onnx_model import door, io
from edgekiln.compiler.onnx_model.recurrent_functions import CODED
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests import opencl
from tests.compiler import artifacts, quantizing
from tests.compiler.recurrent_models import calibration, int8_layer, layer, of_onnxruntime
from tests.e2e.compiled_models import build

TARGET = profile.load("x86-64-v3")
FEATURES, WIDTH, LENGTH = 6, 12, 7


class Tagger(torch.nn.Module):
    """Two layers that run both ways, and an answer for each step."""

    def __init__(self, kind: type[torch.nn.LSTM] | type[torch.nn.GRU]) -> None:
        super().__init__()
        self.layers = kind(FEATURES, WIDTH, num_layers=2, bidirectional=True, batch_first=True)
        self.answer = torch.nn.Linear(2 * WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.answer(self.layers(x)[0])
        return answer


def exported(kind: type[torch.nn.LSTM] | type[torch.nn.GRU], dynamo: bool, path: Path) -> Path:
    torch.manual_seed(0)
    example = (torch.zeros(1, LENGTH, FEATURES),)
    said = text_io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tagger(kind).eval(), example, str(path), dynamo=dynamo, verbose=False,
            input_names=["x"], output_names=["y"],
        )  # fmt: skip
    io.save_model(door.enter(path).model, path)
    return path


def coded(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type in CODED.values()]


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_what_torch_exports_is_layers_of_codes(
    tmp_path: Path, kind: type[torch.nn.LSTM] | type[torch.nn.GRU], dynamo: bool
) -> None:
    source = exported(kind, dynamo, tmp_path / "m.onnx")
    data = calibration(tmp_path / "x.npy", LENGTH, FEATURES)
    model, metrics, _ = quantizing.quantize(source, data=data, samples=32)
    assert coded(model) == [f"Coded{kind.__name__.capitalize()}"] * 4
    assert metrics["sqnr_db"] > 35
    int8 = source.with_name("int8.onnx")
    lib = build(int8, TARGET)
    spec = AotRunner.open(lib).spec
    found = verify(lib, int8, batches_for(spec, int8, data="", seed=1, samples=3))
    found.check()
    wrong = [gap.differing for gap in found.layers if gap.op == "recurrent"]
    assert wrong == [0] * 4


@pytest.mark.parametrize(
    ("op", "direction", "words"),
    [
        ("LSTM", "reverse", ""),
        ("LSTM", "bidirectional", ""),
        ("GRU", "forward", ""),
        ("GRU", "bidirectional", ", linear_before_reset = 1"),
    ],
)
def test_every_result_has_the_bits_of_onnxruntime(
    tmp_path: Path, op: str, direction: str, words: str
) -> None:
    source = layer(tmp_path / "m.onnx", op, direction, words)
    data = calibration(tmp_path / "x.npy", 11, 5)
    model, metrics, _ = quantizing.quantize(source, data=data, samples=32)
    assert len(coded(model)) == (2 if direction == "bidirectional" else 1)
    assert metrics["sqnr_db"] > 30
    int8 = source.with_name("int8.onnx")
    # Numbers that the data did not have, too: what is beyond their range is clipped.
    x = np.random.default_rng(3).normal(0, 3, (1, 11, 5)).astype(np.float32)
    ours = AotRunner.open(build(int8, TARGET)).run(x)
    same = [np.array_equal(*pair) for pair in zip(ours, of_onnxruntime(int8, x), strict=True)]
    assert same == [True, True]


def test_the_length_of_a_sequence_costs_no_code(tmp_path: Path) -> None:
    sizes = {}
    for length in (20, 2000):
        source = layer(tmp_path / f"m{length}.onnx", "LSTM", "forward", length=length)
        data = calibration(tmp_path / "x.npy", length, 5)
        quantizing.quantize(source, data=data, samples=2)
        int8 = source.with_name("int8.onnx")
        context = StageContext(target=TARGET, scratch=tmp_path)
        program, _ = CompileStage().lower(artifacts.of(int8), context)
        sizes[length] = ([call.op for call in program.calls], int8.stat().st_size)
    short, long = sizes.values()
    assert short[0] == long[0]
    assert abs(long[1] - short[1]) < 100


def test_layers_that_stay_float_are_steps_up_to_a_length(tmp_path: Path) -> None:
    def left_float(length: int) -> Path:
        source = layer(tmp_path / "m.onnx", "GRU", "forward", length=length)
        text = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 14]> m (float[1, {length}, 5] x) => '
            f"(float[1, {length}, 4] z) {{ z = MatMul (x, v) }}"
        )
        # Something has to be an integer.
        model = io.load_model(source)
        model.graph.node.append(text.graph.node[0])
        model.graph.output.append(text.graph.output[0])
        array = np.random.default_rng(4).normal(size=(5, 4)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, "v"))
        io.save_model(model, source)
        data = calibration(tmp_path / "x.npy", length, 5)
        found, _, _ = quantizing.quantize(source, data=data, samples=2, exclude=("y.states",))
        assert coded(found) == []
        return source.with_name("int8.onnx")

    int8 = left_float(5)
    x = np.random.default_rng(3).normal(size=(1, 5, 5)).astype(np.float32)
    ours = AotRunner.open(build(int8, TARGET)).run(x)
    pairs = zip(ours, of_onnxruntime(int8, x), strict=True)
    assert max(np.abs(np.asarray(a - b)).max() for a, b in pairs) < 1e-5
    with pytest.raises(UnsupportedError, match="is float and has 513 steps, more than 512"):
        build(left_float(513), TARGET)


@pytest.mark.parametrize(
    ("op", "direction", "words"),
    [("LSTM", "bidirectional", ""), ("GRU", "bidirectional", ", linear_before_reset = 1")],
)
def test_a_gpu_computes_the_bits_of_a_cpu_in_one_launch_a_layer(
    tmp_path: Path, op: str, direction: str, words: str
) -> None:
    opencl.require()
    int8 = int8_layer(tmp_path, op, direction, words)
    on_gpu = AotRunner.open(build(int8, profile.load(opencl.TARGET)))
    assert [each.op for each in on_gpu.spec.layers].count("recurrent") == 2
    x = np.random.default_rng(3).normal(0, 3, (1, 11, 5)).astype(np.float32)
    pairs = zip(on_gpu.run(x), of_onnxruntime(int8, x), strict=True)
    assert [np.array_equal(*pair) for pair in pairs] == [True, True]


def test_a_state_too_wide_for_what_a_gpus_threads_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "MOST_WIDTH", 8)
    with pytest.raises(UnsupportedError, match="a state of 9 values, and the threads of a GPU"):
        build(int8_layer(tmp_path, "LSTM", "forward"), profile.load(opencl.TARGET))
