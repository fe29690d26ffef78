"""Programs that read a line of text off a picture: symbols, on this machine and on chips."""

import ctypes
import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekiln.compiler.evaluation.subject import open_subject
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.bundle import LIBRARY, read_program
from edgekiln.runtime.manifest import SYMBOLS, Preprocessing
from edgekiln.targets import profile
from tests.cli.conftest import Cli, cli
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build, check

__all__ = ["cli"]  # a fixture

STEPS, LABELS = 12, ("a", "b", "é", " ")
NUMBERS = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.21, 0.22))


def network(tmp_path: Path) -> Path:
    """Columns of 8 pixels become scores of five classes, (1, steps, classes), of codes."""
    m = QdqModel(seed=11)
    x = m.q(m.input("x", 1, 3, 8, 8 * STEPS), scale=0.02, zero=-5)
    columns = m.q(m.conv(x, 5, 3, 8, 8, out="columns", strides=[8, 8]), scale=0.02, zero=0)
    flat = m.op("Reshape", columns, m.const([1, 5, STEPS], "int64"), out="flat")
    m.op("Transpose", flat, out="scores", perm=[0, 2, 1])
    return m.save(tmp_path / "net.onnx", "scores")


def reading(tmp_path: Path) -> Path:
    """The same with pixels before and symbols behind it."""
    model = io.load_model(network(tmp_path))
    meta = replace(io.read_meta(model), preprocessing=NUMBERS, labels=LABELS)
    io.write_meta(model, meta)
    attach(model, ("pixels",), ("ctc=greedy?blank=-1",))
    io.save_model(model, tmp_path / "reading.onnx")
    return tmp_path / "reading.onnx"


def picture() -> np.ndarray:
    columns = np.random.default_rng(4).integers(0, 256, (1, 8, STEPS // 2, 3)).astype(np.uint8)
    # Columns in pairs that are alike, so that symbols are repeated.
    return np.repeat(columns, 16, axis=2)


def wanted(model: Path) -> list[int]:
    """What ONNX Runtime's scores say, by plain Python."""
    frame = picture()[0] / 255
    x = ((frame - NUMBERS.mean) / NUMBERS.std).transpose(2, 0, 1)[None].astype(np.float32)
    net = Session(io.load_model(model.with_name("net.onnx")), optimize=False)
    path = net(x)[0][0].argmax(-1).tolist()
    return [c for c, _ in groupby(path) if c != len(LABELS)]


def test_a_picture_becomes_what_onnx_runtime_reads(tmp_path: Path, cli: Cli) -> None:
    model = reading(tmp_path)
    result = check(model, profile.load("host"), samples=6)
    assert [(gap.name, gap.differing) for gap in result.outputs] == [("symbols", 0), ("length", 0)]
    lib = build(model, profile.load("host"))
    right = wanted(model)
    assert 1 < len(right) < STEPS  # it says something, and repeats itself
    Image.fromarray(picture()[0]).save(tmp_path / "line.png")
    said = "".join((*LABELS, "")[c] for c in right)
    done = cli("run", str(lib), "--input", str(tmp_path / "line.png"), "--json")
    symbols, length = json.loads(done.stdout)["outputs"]
    assert symbols["answers"] == [said]
    assert symbols["values"] == [right + [-1] * (STEPS - len(right))]
    assert length["values"] == [len(right)]
    text = cli("run", str(lib), "--input", str(tmp_path / "line.png")).stdout
    assert f"  0: {said}\n" in text


def test_a_program_in_c_knows_its_symbols(tmp_path: Path) -> None:
    spec, files = read_program(build(reading(tmp_path), profile.load("host")))
    assert spec.outputs[0].holds == SYMBOLS
    header = files["model.h"].decode()
    assert f"#define MODEL_SYMBOL_COUNT {STEPS} " in header
    assert "#define MODEL_CLASS_COUNT 5" in header
    (tmp_path / "libmodel.so").write_bytes(files[LIBRARY])
    library = ctypes.CDLL(str(tmp_path / "libmodel.so"))
    names = (ctypes.c_char_p * 5).in_dll(library, "model_class_names")
    assert [(name or b"").decode() for name in names] == [*LABELS, ""]


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["cortex-m0plus", "cortex-m4", "cortex-m55", "rpi5", "rpi2-armv7"]
)
def test_other_chips_read_the_same(tmp_path: Path, target: str) -> None:
    model = reading(tmp_path)
    lib = build(model, profile.load(target))
    subject = open_subject(Artifact.of_file(lib, "lib"))
    symbols, length = subject.predict({"pixels": picture()})
    right = wanted(model)
    assert symbols.tolist() == [right + [-1] * (STEPS - len(right))]
    assert length.tolist() == [len(right)]
