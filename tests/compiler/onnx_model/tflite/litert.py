"""LiteRT's reference kernels, where they are installed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


def outputs(file: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """What the reference kernels make of a model's inputs. Skips the test without LiteRT."""
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreters.Interpreter(
        model_content=file,
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]
