"""The reference engine is timed on the numbers that it was given."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from edgekiln.runtime import ort_worker
from edgekiln.runtime.random_inputs import random_input


def test_inputs_stay_where_the_engine_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    text = """<ir_version: 8, opset_import: ["" : 17]>
        m (float[1, 64] x, float[1, 64] z) => (float[1, 64] y) { y = Add (x, z) }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    made: list[weakref.ref[np.ndarray]] = []

    def remembered(spec: object, draw: np.random.Generator) -> np.ndarray:
        array = random_input(spec, draw)  # type: ignore[arg-type]
        made.append(weakref.ref(array))
        return array

    monkeypatch.setattr(ort_worker, "random_input", remembered)
    infer, ready = ort_worker.prepare(path, 1, 1)
    gc.collect()
    assert [array() is not None for array in made] == [True, True]
    infer()
    assert ready["batch"] == 1
    del infer
    gc.collect()
    assert [array() is None for array in made] == [True, True]
