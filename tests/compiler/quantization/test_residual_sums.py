"""A transformer's residual stream stays float where a limit needs it; nothing else does."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.ladder_record import read_ladder
from edgekiln.compiler.quantization.residual_sums import residual_sums
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make, write
from tests.compiler.quantizing import quantize

BLOCKS, WIDTH = 16, 32


def _blocks(form: str, count: int = BLOCKS, *, norms_behind: bool = False) -> onnx.ModelProto:
    """Blocks of a dense layer, each added to what goes into it."""
    lines: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {"scale": (WIDTH,), "offset": (WIDTH,)}
    stream = "x"
    for number in range(count):
        norm = form.replace("OUT", f"n{number}")
        if norms_behind:
            lines.append(f"p{number} = MatMul ({stream}, w{number})")
            lines.append(f"r{number} = Relu (p{number})")
            lines.append(f"s{number} = Add (r{number}, {stream})")
            lines.append(norm.replace("IN", f"s{number}"))
            stream = f"n{number}"
        else:
            lines.append(norm.replace("IN", stream))
            lines.append(f"p{number} = MatMul (n{number}, w{number})")
            lines.append(f"r{number} = Relu (p{number})")
            lines.append(f"s{number} = Add (r{number}, {stream})")
            stream = f"s{number}"
        shapes[f"w{number}"] = (WIDTH, WIDTH)
    lines.append(form.replace("OUT", "y").replace("IN", stream))
    model = make("\n".join(lines), shapes, x=f"1, 6, {WIDTH}", y=f"1, 6, {WIDTH}")
    for node in model.graph.node:
        node.name = node.output[0]
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if weight.name in ("scale", "offset"):
            array = np.full_like(array, 1.0 if weight.name == "scale" else 0.0)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


LAYER = "OUT = LayerNormalization <axis = -1> (IN, scale, offset)"


def test_a_stream_normalized_before_its_blocks_is_its_sums() -> None:
    found = residual_sums(_blocks(LAYER))
    assert found == {f"s{number}" for number in range(BLOCKS)}


def test_a_stream_normalized_behind_its_blocks_is_its_sums_and_norms() -> None:
    found = residual_sums(_blocks(LAYER, norms_behind=True))
    sums = {f"s{number}" for number in range(BLOCKS)}
    # The last one is read by nothing that is added.
    assert found == sums | {f"n{number}" for number in range(BLOCKS - 1)}


def test_sums_that_nothing_normalizes_are_no_stream() -> None:
    assert residual_sums(_blocks("OUT = Relu (IN)")) == frozenset()


@pytest.fixture
def samples(tmp_path: Path) -> str:
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, 1, 6, WIDTH)).astype(np.float32)[:, 0])
    return str(tmp_path / "x.npy")


def _kept_db(real: onnx.ModelProto, quantized: onnx.ModelProto) -> float:
    """On samples that nothing was chosen on."""
    sqnr, draw = Sqnr(), np.random.default_rng(8)
    sessions = [Session(model, optimize=False) for model in (real, quantized)]
    for _ in range(32):
        x = draw.normal(size=(1, 6, WIDTH)).astype(np.float32)
        sqnr.add(*(session({"x": x})[0] for session in sessions))
    return sqnr.db


@pytest.mark.parametrize("norms_behind", [False, True])
def test_a_limit_is_met_by_the_sums_alone(
    tmp_path: Path, samples: str, *, norms_behind: bool
) -> None:
    model = _blocks(LAYER, norms_behind=norms_behind)
    src = write(model, tmp_path / "m.onnx")
    plain, metrics, _ = quantize(src, data=samples, accept_sqnr=-200.0)
    limit_db = metrics["sqnr_db"] + 1
    held, _, _ = quantize(src, data=samples, min_sqnr=limit_db)
    ladder = read_ladder(held)
    assert ladder is not None
    assert (ladder.met, ladder.chosen) == (True, "residual sums in float")
    assert set(ladder.float_layers) == residual_sums(model)
    # The products stay integer, and none was asked how sensitive it is.
    assert ladder.sensitivity == ()
    assert _kept_db(model, held) > _kept_db(model, plain) + 1


def test_who_does_not_ask_is_told_what_the_sums_cost(tmp_path: Path, samples: str) -> None:
    src = write(_blocks(LAYER, 32), tmp_path / "m.onnx")
    _, metrics, notes = quantize(src, data=samples, accept_sqnr=-200.0)
    assert metrics["sqnr_db"] < 25
    said = "the residual stream is rounded at each of its 32 sums: min-sqnr 25"
    assert any(note.startswith(said) for note in notes)
