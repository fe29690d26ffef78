"""LiteRT's reference kernels, where they are installed."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.errors import MissingToolError


def outputs(file: bytes, inputs: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """What the reference kernels make of a model's inputs. Raises MissingToolError."""
    return stream(file, [inputs])[0]


def stream(
    file: bytes, calls: Iterable[Sequence[NDArray[np.generic]]], inner: Sequence[int] = ()
) -> list[list[NDArray[np.generic]]]:
    """What they make of several calls, one after the other; variables are kept. As `outputs`.

    Args:
        inner: numbers of tensors inside the model, whose values follow the outputs.
    """
    try:
        from ai_edge_litert import interpreter as interpreters
    except ImportError as error:
        raise MissingToolError(
            "LiteRT is not installed", hint="pip install 'ai-edge-litert>=2.3'"
        ) from error
    interpreter = interpreters.Interpreter(
        model_content=file,
        # The default are XNNPACK and optimized kernels, some of which round otherwise.
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_REF,
        num_threads=1,
        # Else tensors inside share their memory, and a later operator overwrites them.
        experimental_preserve_all_tensors=bool(inner),
    )
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()
    wanted = [*(each["index"] for each in interpreter.get_output_details()), *inner]
    results = []
    for inputs in calls:
        for detail, value in zip(into, inputs, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        results.append([np.array(interpreter.get_tensor(each)) for each in wanted])
    return results
