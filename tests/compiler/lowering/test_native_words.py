"""TVM's warnings, about code that no user has written, stay out of what a user reads."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.lowering.native_words import without_warnings
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours, program, reference

LOGGED = b"[12:00:00] /project/src/tirx/op/op.cc:275: Warning: Detected pow(x, y)\n"


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("y = Pow (x, e)", {"e": np.array(3, np.float32)}),
        ("y = Pow (x, e)", {"e": np.array(5, np.int64)}),
        (
            "y = ScatterElements <axis = 1> (x, i, u)",
            {"i": np.array([[1, 0]]), "u": np.full((1, 2), 7, np.float32)},
        ),
    ],
)
def test_a_compilation_says_nothing_of_tvm(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    body: str,
    constants: dict[str, np.ndarray],
) -> None:
    model = float_models.make(body, {}, x="1, 4", y="1, 4", constants=constants)
    path = float_models.write(model, tmp_path / "m.onnx")
    x = images(1, 4)
    (result,) = ours(path, x)
    np.testing.assert_allclose(result, reference(path, x)[0], rtol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_a_refusal_says_nothing_of_tvm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    body = (
        'y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"> '
        "(x, , , s)"
    )
    sizes = {"s": np.array([1, 3, 11, 5])}
    model = float_models.make(body, {}, x="1, 3, 8, 8", y="1, 3, 11, 5", constants=sizes)
    with pytest.raises(UnsupportedError, match="operator Resize"):
        program(float_models.write(model, tmp_path / "m.onnx"))
    assert capfd.readouterr() == ("", "")


def test_all_other_words_arrive(capfd: pytest.CaptureFixture[str]) -> None:
    with without_warnings():
        os.write(2, LOGGED + b"LLVM ERROR: no such instruction\n" + LOGGED)
    assert capfd.readouterr().err == "LLVM ERROR: no such instruction\n"


def test_what_python_says_arrives_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with without_warnings():
        print("going on", file=sys.stderr, flush=True)
        assert capfd.readouterr().err == "going on\n"
        print("still", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "still\n"
