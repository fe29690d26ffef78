"""PyTorch's ONNX exporter: silent, its errors in one line, its results under the user's names."""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import names, rewrites
from edgekiln.runtime.errors import MismatchError, UnsupportedError

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import ExportedProgram

# Trained nets differ by 5e-6 between PyTorch and ONNX Runtime; a wrong operator by 0.1 and more.
TOLERANCE = 1e-3

_NO_FORM = "No ONNX function found"  # so the exporter's reason begins where it lacks one
_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in .*\n(?P<code>.+)')


def traced(
    module: "nn.Module | ExportedProgram",
    arguments: "tuple[torch.Tensor, ...]" = (),
    *,
    called: str,
    opset: int,
    input_names: "Sequence[str] | None" = None,
    output_names: "Sequence[str] | None" = None,
    dynamic_shapes: "tuple[object, ...] | None" = None,
) -> "onnx.ModelProto":
    """What the exporter makes of a module and its example arguments, or of an exported program.

    Raises:
        UnsupportedError: it cannot; the message names the operation and calls the model `called`.
    """
    import torch

    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module, arguments, dynamo=True, optimize=True, verbose=False,
                opset_version=opset, input_names=input_names, output_names=output_names,
                dynamic_shapes=dynamic_shapes,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        reason = cause(error)
        raise UnsupportedError(
            f"{called}: cannot be exported: {reason}",
            hint="write that operation in others, for which ONNX has a form"
            if reason.startswith(_NO_FORM)
            else "rewrite that part so that the same operations run for every input",
        ) from error
    assert program is not None  # None only when torch writes the file itself
    model: onnx.ModelProto = program.model_proto
    return model


def tidy(model: "onnx.ModelProto", called: str) -> None:
    """Name the exporter's nodes and tensors after the user's modules, and forget this machine.

    Raises:
        UnsupportedError: what the exporter has written is no valid model; the message calls the
            model `called`.
    """
    import onnx

    # In this order: the rewrite passes on the metadata that names are read from, and what
    # `strip_traces` removes is that metadata.
    rewrites.pool_from_reduce_mean(model)
    names.name_after_modules(model)
    names.strip_traces(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        lines = [line for each in str(error).splitlines() if (line := each.strip())]
        raise UnsupportedError(
            f"{called}: PyTorch's exporter makes no valid ONNX of it: {' '.join(lines)[:300]}",
            hint="rewrite the part that it names in other operators",
        ) from error


def require_equal(
    expected: "NDArray[np.float64]",
    got: "NDArray[np.float64]",
    hint: str,
    tolerance: float = TOLERANCE,
) -> float:
    """Hold what ONNX Runtime computes to what PyTorch computes; returns their largest difference.

    Args:
        expected: by PyTorch, a row a sample.
        got: by ONNX Runtime, of the same shape.
        tolerance: a share of the largest number of all samples: a small one may differ by all of
            itself. Infinities and NaN are to be in the same places.

    Raises:
        MismatchError: they differ by more, or one alone is NaN.
    """
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    unlike = np.abs(expected[~same] - got[~same])
    difference = float(unlike.max(initial=0.0))
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    if not difference <= tolerance * largest:  # also when it is NaN
        raise MismatchError(
            f"the exported model differs from PyTorch by {difference:.3g} "
            f"(largest output {largest:.3g}) on {len(got)} samples",
            hint=hint,
        )
    return difference


def cause(error: BaseException) -> str:
    """The innermost reason and the user's line in one line: torch wraps them in pages of advice."""
    # torch raises `from`, layer by layer; the user's code is at the bottom.
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    reason = next((line.strip() for line in text.splitlines() if line.strip()), "")
    reason = reason.partition(" (unhinted")[0] or type(error).__name__
    for place in _PLACE.finditer(text):
        if f"{os.sep}site-packages{os.sep}" not in place["file"]:
            name = Path(place["file"]).name
            return f"{reason} ({name}, line {place['line']}: {place['code'].strip()})"
    return reason


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's warnings about itself to itself. What goes wrong arrives as an exception."""
    # Handlers that exist already hold the stderr of before; `disable` silences these, too.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
