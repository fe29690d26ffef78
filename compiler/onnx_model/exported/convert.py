"""An exported program becomes an ONNX model, proved on the sample that it was exported with."""

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import extents, torch_exporter
from edgekiln.compiler.onnx_model.exported.archive import HINT, safe_archive
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    import torch
    from numpy.typing import NDArray
    from torch.export import ExportedProgram

SUFFIX = ".pt2"
_OPSET = 20
# One code more or less in the middle of a quantized model, where PyTorch and ONNX Runtime add in
# another order; a wrong operator is off by all of the output.
_QUANTIZED_TOLERANCE = 0.1


def to_onnx(path: Path, notes: list[str]) -> "onnx.ModelProto":
    """Read a file of `torch.export.save` as an ONNX model: a float one, or, of a program that
    PT2E has quantized, one with QuantizeLinear and DequantizeLinear.

    Args:
        notes: gets a sentence for each thing that the file's user should know.

    Raises:
        InputError: no such file, or not a valid program.
        UnsupportedError: a valid one with parts that no program can hold.
        MismatchError: ONNX Runtime computes something else of it than PyTorch.
    """
    archive, sample = safe_archive(path)
    program = _loaded(archive, str(path))
    _require_pure(program, str(path))
    model = torch_exporter.traced(program, called=str(path), opset=_OPSET)
    torch_exporter.tidy(model)
    notes.append("an exported program of PyTorch, written as ONNX")
    arguments = _arguments(sample, program)
    if arguments is None:
        notes.append("it has no sample input of plain tensors, so nothing was compared")
    else:
        _compare(program, model, arguments)
    return model


def _loaded(archive: io.BytesIO, where: str) -> "ExportedProgram":
    import torch

    # Registers what PT2E writes: quantized_decomposed.
    import torch.ao.quantization.fx._decomposed

    try:
        with torch_exporter.quiet():
            program = torch.export.load(archive)
    except Exception as error:  # whatever its reader trips over in a file that makes no sense
        reason = torch_exporter.cause(error)
        raise InputError(
            f"{where}: PyTorch {torch.__version__} cannot read it: {reason[:200]}",
            f"{HINT}, by the same version of PyTorch",
        ) from error
    known = torch._ops.OpOverload
    for node in program.graph.nodes:
        if node.op == "call_function" and not isinstance(node.target, known):
            module = getattr(node.target, "__module__", "")
            if module.split(".")[0] not in ("_operator", "math", "torch"):
                raise InputError(f"{where}: calls {node.target}", HINT)
    return program


def _require_pure(program: "ExportedProgram", where: str) -> None:
    """Refuse a program whose calls change it, which ONNX cannot say, or draw lots."""
    with torch_exporter.quiet():
        # Operators that work in place become results of the program, which have names.
        signature = program.run_decompositions({}).graph_signature
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        raise UnsupportedError(
            f"{where}: changes {changed[0]!r} in each call",
            hint="export model.eval(); a state must be an input and an output: y, h = model(x, h)",
        )
    drawn = any(
        str(node.target) == "aten.dropout.default" and len(node.args) > 2 and node.args[2]
        for node in program.graph.nodes
    )
    if drawn:
        raise UnsupportedError(
            f"{where}: was exported in training mode: it drops values at random", HINT
        )


def _arguments(sample: bytes, program: "ExportedProgram") -> "list[torch.Tensor] | None":
    """The tensors that it was exported with, in the order of its inputs; None if they cannot be
    read without running code, or are not plain tensors.
    """
    import torch

    try:
        with torch_exporter.quiet():
            found = torch.load(io.BytesIO(sample), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError):
        return None
    leaves = torch.utils._pytree.tree_leaves(found)
    if len(leaves) != len(program.graph_signature.user_inputs):
        return None
    return leaves if all(type(leaf) is torch.Tensor for leaf in leaves) else None


def _compare(
    program: "ExportedProgram", model: "onnx.ModelProto", arguments: "list[torch.Tensor]"
) -> None:
    import torch

    with torch_exporter.quiet(), torch.no_grad():
        outputs = torch.utils._pytree.tree_leaves(program.module()(*arguments))
    names = program.graph_signature.user_inputs
    given: Mapping[str, NDArray[np.generic]] = {
        str(name): argument.numpy() for name, argument in zip(names, arguments, strict=True)
    }
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    session = Session(model, optimize=False)
    feeds = {value.name: given[value.name] for value in extents.model_inputs(model)}
    for expected, got in zip(outputs, session(feeds), strict=True):
        torch_exporter.require_equal(
            expected.numpy().astype(np.float64).reshape(1, -1),
            got.astype(np.float64).reshape(1, -1),
            hint="report it, with the operators that it has",
            tolerance=_QUANTIZED_TOLERANCE if quantized else torch_exporter.TOLERANCE,
        )
