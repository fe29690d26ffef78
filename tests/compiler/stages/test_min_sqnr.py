"""`min-sqnr` of the quantize stage: what it takes to keep the signal, without a label."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization import judge, ladder
from edgekiln.compiler.quantization.judge import Judge
from edgekiln.compiler.quantization.ladder_record import read_ladder
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.sqnr import Sqnr
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import AccuracyError, ConfigError
from tests.compiler import skewed, stateful
from tests.compiler.float_models import make, write
from tests.compiler.quantizing import quantize, refused


def images(count: int, seed: int) -> np.ndarray:
    """Noise around levels whose ends any few samples come near."""
    draw = np.random.default_rng(seed)
    levels = draw.uniform(-1, 1, size=(count, 3, 1, 1))
    return (levels + draw.normal(size=(count, 3, 32, 32)) / 4).astype(np.float32)


@pytest.fixture
def samples(tmp_path: Path) -> str:
    np.save(tmp_path / "x.npy", images(96, seed=0))
    return str(tmp_path / "x.npy")


def kept_db(real: onnx.ModelProto, quantized: onnx.ModelProto, output: str) -> float:
    """Of samples that nothing was chosen on."""
    x = images(64, seed=9)
    answers = [Session(model, optimize=False)({"x": x}, [output])[0] for model in (real, quantized)]
    sqnr = Sqnr()
    sqnr.add(*answers)
    return sqnr.db


def test_a_model_without_labels_keeps_the_signal_that_is_asked_for(
    tmp_path: Path, samples: str
) -> None:
    source = skewed.skewed(skewed.fitted())
    src = write(source, tmp_path / "m.onnx")
    (output,) = [value.name for value in source.graph.output]
    plain, _, _ = quantize(src, data=samples, equalize_below=0.0, accept_sqnr=-200.0)
    assert kept_db(source, plain, output) < 15
    held, _, notes = quantize(src, data=samples, equalize_below=0.0, min_sqnr=25.0)
    # Of other samples than those that it was judged on.
    assert kept_db(source, held, output) >= 24
    assert notes[0].startswith("min-sqnr 25, as it is: SQNR ")
    record = read_ladder(held)
    assert record is not None
    assert (record.met, record.limits, record.min_sqnr_db) == (True, {}, 25.0)


def test_where_few_samples_validate_those_that_calibrate_help_to_judge(
    tmp_path: Path, samples: str
) -> None:
    src = write(skewed.fitted(), tmp_path / "m.onnx")
    held, _, notes = quantize(src, data=samples, equalize_below=0.0, min_sqnr=25.0)
    record = read_ladder(held)
    assert record is not None
    validating, helping = record.samples - record.helping, record.helping
    assert validating < 20 < helping
    assert notes[0].endswith(f"on {validating} validation samples and {helping} that calibrate")


@pytest.mark.parametrize(
    ("count", "end"),
    [
        (1, r"SQNR [0-9.]+ dB on 1 validation sample"),
        (2, r"SQNR [0-9.]+ dB \([-0-9.]+ for sure\) on 1 validation sample and 1 that calibrate"),
    ],
)
def test_a_sample_that_does_both_is_asked_once(tmp_path: Path, count: int, end: str) -> None:
    """Asked twice it would be as noisy as itself, and that for sure."""
    np.save(tmp_path / "x.npy", images(count, seed=0))
    src = write(skewed.fitted(), tmp_path / "m.onnx")
    _, _, notes = quantize(
        src, data=str(tmp_path / "x.npy"), equalize_below=0.0, accept_sqnr=-200.0, min_sqnr=-50.0
    )
    first = next(note for note in notes if note.startswith("min-sqnr -50, as it is: "))
    assert re.fullmatch(end, first.removeprefix("min-sqnr -50, as it is: "))


def test_only_those_are_counted_that_judged(
    tmp_path: Path, samples: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model with large outputs a judge takes fewer samples than there are."""
    monkeypatch.setattr(judge, "_KEPT_BYTES", 1)
    src = write(skewed.fitted(), tmp_path / "m.onnx")
    _, _, notes = quantize(src, data=samples, equalize_below=0.0, min_sqnr=20.0)
    assert re.search(r" on [1-9] validation samples(, undone)?$", notes[0])


def test_samples_that_are_named_to_judge_judge_alone(tmp_path: Path, samples: str) -> None:
    np.save(tmp_path / "others.npy", images(60, seed=4))
    src = write(skewed.fitted(), tmp_path / "m.onnx")
    held, _, _ = quantize(
        src,
        data=samples,
        validation=str(tmp_path / "others.npy"),
        equalize_below=0.0,
        min_sqnr=25.0,
    )
    record = read_ladder(held)
    assert record is not None
    assert (record.samples, record.helping) == (6, 0)


def test_a_quiet_output_is_held_beside_a_loud_one(
    tmp_path: Path, samples: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
        p = GlobalAveragePool (x)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, w)
        h = Gemm <transB = 1> (f, v)
        q = Gemm <transB = 1> (h, s)
    """
    model = make(body, {"w": (4, 3), "v": (8, 3), "s": (4, 8)}, x="N, 3, 32, 32", y="N, 4")
    model.graph.output.append(onnx.helper.make_tensor_value_info("q", 1, ["N", 4]))
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight).copy()
        if weight.name == "w":
            array *= 1000
        if weight.name == "v":  # a channel that takes all codes, and says nothing of the answer
            array[0] *= 300
        if weight.name == "s":
            array[:, 0] = 0
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    src = write(model, tmp_path / "m.onnx")
    plain, metrics, _ = quantize(src, data=samples, equalize_below=0.0)
    assert metrics["sqnr_db"] > 25  # of both together
    assert kept_db(model, plain, "q") < 15
    monkeypatch.setattr(ladder, "CORRECTIONS", {})  # none helps, and they take their time
    held, _, _ = quantize(src, data=samples, equalize_below=0.0, min_sqnr=25.0)
    assert min(kept_db(model, held, name) for name in ("y", "q")) >= 24


def test_what_remembers_keeps_the_signal_of_whole_streams(tmp_path: Path) -> None:
    src = stateful.remembering("lstm", tmp_path / "m.onnx")
    written_out = io.load_model(src)  # in as many layers as it has products
    assert write_in_others(written_out)
    io.save_model(written_out, src)
    streams = np.stack([stateful.stream("lstm", 24, seed) for seed in range(40)])
    np.save(tmp_path / "x.npy", streams)
    _, plain, _ = quantize(src, data=str(tmp_path / "x.npy"))
    more_db = plain["sqnr_db"] + 6
    _, held, notes = quantize(src, data=str(tmp_path / "x.npy"), min_sqnr=more_db)
    assert held["sqnr_db"] >= more_db
    # Corrections take streams step by step, with what the float model remembered.
    assert any("best ranges" in note for note in notes)


def test_a_limit_that_nothing_reaches_is_an_error_and_writes_nothing(
    tmp_path: Path, samples: str
) -> None:
    src = write(skewed.fitted(), tmp_path / "m.onnx")
    error = refused(src, AccuracyError, data=samples, min_sqnr=190.0)
    assert error.message.startswith("quantize: on ")
    assert error.message.count("validation sample") == 1  # said once for all steps
    assert "more is lost than min-sqnr allows, whatever was tried: min-sqnr 190" in error.message
    # Layers in float are told, too: by them the user sees what may be asked for.
    kept, sure = r"layers in float: SQNR ([0-9.]+) dB", r" \(([0-9.]+) for sure\)"
    ((most, least),) = re.findall(kept + sure, error.message)
    assert float(least) <= float(most)
    assert error.hint is not None
    assert re.match(r"'\w+' keeps [0-9.]+ dB: ask for no more, or for a float", error.hint)
    assert float(error.hint.split()[2]) == pytest.approx(float(most), abs=0.11)


def test_an_output_that_is_always_zero_does_not_stand_in_the_way(
    tmp_path: Path, samples: str
) -> None:
    source = skewed.fitted()
    (output,) = [value.name for value in source.graph.output]
    node = onnx.helper.make_node("Sub", [output, output], ["nothing"], name="nothing")
    source.graph.node.append(node)
    source.graph.output.append(onnx.helper.make_tensor_value_info("nothing", 1, ["N", None]))
    _, metrics, notes = quantize(write(source, tmp_path / "m.onnx"), data=samples, min_sqnr=20.0)
    assert metrics["sqnr_db"] > 20
    assert any(note.startswith("min-sqnr 20, as it is: SQNR ") for note in notes)
    assert not any("-200" in note for note in notes)


def test_what_few_samples_leave_in_doubt_is_asked_for(tmp_path: Path) -> None:
    """Twenty samples of a call each leave as much in doubt as many blocks do."""
    np.save(tmp_path / "x.npy", images(200, seed=0))
    model = prepare(skewed.fitted())
    takes = model_inputs.of_model(model)
    feed = feed_for(io.read_meta(model), takes, data=str(tmp_path / "x.npy"), seed=0)
    judging = Judge(model, feed, samples=512, scored=False)
    assert judging.samples == 20
    quantized, _, _ = quantize(write(model, tmp_path / "m.onnx"), data=str(tmp_path / "x.npy"))
    verdict = judging.verdict(quantized)
    assert 0.03 < verdict.least_db - verdict.sure_db < 15.0


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 200.0])
def test_a_limit_is_a_number_of_decibels(number: float) -> None:
    with pytest.raises(ConfigError, match="min-sqnr = "):
        QuantizeStage(min_sqnr=number)
