from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.runtime.errors import EdgeKilnError, InputError
from edgekiln.runtime.manifest import Preprocessing
from tests.compiler.float_models import make, residual, write

META = Meta(
    preprocessing=Preprocessing(mean=(0.5, 0.4, 0.3), std=(1.0, 2.0, 3.0), layout="NHWC"),
    labels=("cat", "dog"),
    data="pets/?size=32",
    task="classification",
)


def loaded(path: Path) -> EdgeKilnError:
    """The error that loading the file gives."""
    with pytest.raises(InputError) as caught:
        io.load_model(path)
    assert caught.value.exit_code == 3
    return caught.value


def test_metadata_survives_the_file(tmp_path):
    model = residual()
    io.write_meta(model, META)
    io.save_model(model, tmp_path / "m.onnx")
    assert io.read_meta(io.load_model(tmp_path / "m.onnx")) == META
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_writing_metadata_replaces_ours_and_keeps_what_others_wrote():
    model = residual()
    onnx.helper.set_model_props(model, {"author": "somebody", "edgekiln.data": "old"})
    io.write_meta(model, Meta(task="reconstruction"))
    assert {p.key: p.value for p in model.metadata_props} == {
        "author": "somebody",
        "edgekiln.task": "reconstruction",
    }


def test_a_model_without_metadata_says_nothing():
    assert io.read_meta(residual()) == Meta()


def test_damaged_metadata_is_named():
    model = residual()
    onnx.helper.set_model_props(model, {"edgekiln.preprocessing": "{"})
    with pytest.raises(InputError, match=r"the model's edgekiln.\* metadata is damaged: Expecting"):
        io.read_meta(model)
    for key, text in (("labels", "[" * 100_000), ("labels", '["\\ud800"]'), ("before", "[NaN]")):
        onnx.helper.set_model_props(model, {f"edgekiln.{key}": text})
        with pytest.raises(InputError, match="metadata is damaged: "):
            io.read_meta(model)
    onnx.helper.set_model_props(model, {"edgekiln.preprocessing": '{"zoom": 2}'})
    with pytest.raises(InputError, match=r"metadata is damaged: .*'zoom'"):
        io.read_meta(model)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.onnx"
    assert loaded(path).message == f"{path}: no such file"
    assert loaded(path).hint


def test_a_directory_cannot_be_read(tmp_path):
    assert loaded(tmp_path).message == f"{tmp_path}: cannot be read: Is a directory"


@pytest.mark.parametrize("content", [b"not a model at all\n", b"\x89PNG\r\n\x1a\n", None])
def test_a_file_that_is_no_onnx_is_named(tmp_path, content):
    whole = residual().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert loaded(path).message == f"{path}: not an ONNX file, or cut short"


def test_an_empty_file_has_no_operation(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    assert loaded(path).message == f"{path}: an ONNX file without any operation"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    weight = np.ones((10, 8), np.float32)
    weight[3, 4] = value
    model = make(
        "y = Gemm <transB = 1> (x, head)", {}, x="N, 8", y="N, 10", constants={"head": weight}
    )
    path = write(model, tmp_path / "m.onnx")
    assert loaded(path).message == f"{path}: weight 'head' holds NaN or infinity"


def test_a_graph_that_reads_what_nobody_makes_is_invalid(tmp_path):
    model = residual()
    model.graph.node[-1].input[0] = "nowhere"
    path = write(model, tmp_path / "m.onnx")
    assert loaded(path).message.startswith(f"{path}: not a valid ONNX model: ")
    assert "\n" not in loaded(path).message


def test_quantized_models_are_recognised():
    model = make(
        "q = QuantizeLinear (x, scale, zero)\n y = DequantizeLinear (q, scale, zero)",
        {},
        x="N, 8",
        y="N, 8",
        constants={"scale": np.float32(0.1), "zero": np.int8(0)},
    )
    assert io.is_quantized(model)
    assert not io.is_quantized(residual())
