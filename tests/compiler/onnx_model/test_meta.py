"""What a model's file says of itself is a stranger's word."""

import json

import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import Preprocessing


def says(**numbers: object) -> onnx.ModelProto:
    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, {"edgekiln.preprocessing": json.dumps(numbers)})
    return model


def test_what_is_not_said_is_as_usual() -> None:
    read = io.read_meta(says(mean=[1, 2, 3])).preprocessing
    assert read == Preprocessing(mean=(1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ({"scale": 1e308}, "float32 does not hold"),
        ({"std": [0.0]}, "a std of 0"),
        ({"scale": "x"}, "scale: wanted float, found str"),
        ({"gamma": 2}, "unknown 'gamma'"),
    ],
)
def test_numbers_that_make_no_input_are_refused(numbers: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        io.read_meta(says(**numbers))
    assert caught.value.message.startswith("the model's edgekiln.* metadata is damaged: ")
