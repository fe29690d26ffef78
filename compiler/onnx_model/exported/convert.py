"""An exported program becomes an ONNX model, and is proved to compute the same."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import half, io, names, torch_exporter
from edgekiln.compiler.onnx_model.exported.archive import HINT, safe_archive
from edgekiln.compiler.onnx_model.exported.proof import Proof, arguments_of
from edgekiln.runtime.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

SUFFIX = ".pt2"
_OPSET = 20


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
    where = str(path)
    archive, sample = safe_archive(path)
    program = _loaded(archive, where)
    _require_tensors(program, where)
    _require_pure(program, where)
    model = torch_exporter.traced(program, called=where, opset=_OPSET)
    names.restore_inputs(model, list(map(str, program.graph_signature.user_inputs)))
    notes.append("an exported program of PyTorch, written as ONNX")
    # Operators that ONNX has for no half floats are then ones that it has.
    if halves := half.to_float32(model):
        notes.append(half.NOTE)
    torch_exporter.tidy(model, where)
    notes += _unread(model)
    quantized = any(node.op_type == io.QUANTIZE for node in model.graph.node)
    model = io.in_todays_form(model, path, notes)
    arguments = arguments_of(sample, program)
    if arguments is None:
        notes.append("it has no sample input of plain tensors, so nothing was compared")
    else:
        Proof(
            program=program,
            model=model,
            arguments=arguments,
            rounded=quantized or halves,
            where=where,
        ).check()
    return model


def _loaded(archive: BytesIO, where: str) -> "ExportedProgram":
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


def _require_tensors(program: "ExportedProgram", where: str) -> None:
    """Refuse inputs and outputs that ONNX has no tensors for."""
    import torch

    # Inputs and weights: whatever else is complex lies between, where it may be written in reals.
    taken = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature = program.graph_signature
    for name in (*signature.user_inputs, *signature.user_outputs):
        value = taken.get(str(name))
        if isinstance(value, torch.Tensor) and value.is_complex():
            raise UnsupportedError(
                f"{where}: {name!r} is complex",
                hint="take and give real parts and imaginary parts: torch.view_as_real",
            )
    for given in signature.user_outputs:
        if given is not None and not isinstance(given, str):
            raise UnsupportedError(
                f"{where}: gives {given!r}, which is no tensor",
                hint="leave constants out of what forward() returns",
            )


def _unread(model: "onnx.ModelProto") -> list[str]:
    read = {name for node in model.graph.node for name in node.input}
    unread = [value.name for value in model.graph.input if value.name not in read]
    if not unread:
        return []
    # Two arguments that are one tensor are one input to PyTorch.
    return [
        f"nothing reads {', '.join(unread)}: was the program exported with one tensor for several?"
    ]


def _require_pure(program: "ExportedProgram", where: str) -> None:
    """Refuse a program whose calls change it, which ONNX cannot say, or draw lots.

    Raises:
        InputError: its operators cannot be run on their operands.
        UnsupportedError: it is refused.
    """
    try:
        with torch_exporter.quiet():
            # Operators that work in place become results of the program, which have names.
            signature = program.run_decompositions({}).graph_signature
    except Exception as error:  # whatever PyTorch says of operands that do not fit
        reason = torch_exporter.cause(error)
        raise InputError(f"{where}: makes no sense to PyTorch: {reason[:200]}", HINT) from error
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
