"""Variables: what a streaming model keeps from call to call.

The step itself keeps nothing: the last value of a variable is an input, the next one an output. One
that CALL_ONCE alone assigns is a constant.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator, TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter
from edgekiln.compiler.onnx_model.tflite.subgraphs import alike, variable_name

_HANDLE = "VAR_HANDLE"


def next_name(variable: str) -> str:
    """What a variable's next value is called."""
    return f"{variable}.next"


def keep(w: OnnxWriter, op: TfliteOperator) -> None:
    """VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE; CALL_ONCE sets what each begins with."""
    if op.name == "CALL_ONCE":
        return
    if op.name == _HANDLE:
        # Several may stand for one variable, whose name the file says.
        shared = variable_name(op)
        known = [v for v, of_file in w.shared_names.items() if shared and of_file == shared]
        name = known[0] if known else w.tensor(op.outputs[0]).name
        w.variables[op.outputs[0]], w.shared_names[name] = name, shared
        return
    variable = w.variables.get(op.inputs[0] if op.inputs else -1)
    if variable is None:
        raise w.refused(op, "it names no variable")
    if op.name == "READ_VARIABLE":
        number = op.outputs[0]
        if (lasting := _lasting(w, op, w.shared_names[variable])) is not None:
            w.known[number] = lasting
        elif variable in w.next_values:
            # What was assigned in this call.
            w.made(number, w.in_rows(w.next_values[variable]))
        elif variable in w.last_values:
            w.made(number, w.in_rows(w.last_values[variable]))
        else:
            w.last_values[variable] = number
            w.made(number, w.free(variable))
        return
    if len(op.inputs) < 2 or op.inputs[1] < 0:
        raise w.refused(op, "operands are missing")
    w.next_values[variable] = op.inputs[1]
    tensor = w.tensor(op.inputs[1])
    first = w.first_values.get(w.shared_names[variable])
    w.notes.append(
        f"variable {variable!r} is an input, the output {next_name(variable)!r} its next value: "
        f"begin with {_beginning(w, op, tensor, first)}"
    )


def _lasting(w: OnnxWriter, op: TfliteOperator, shared: str) -> NDArray[np.generic] | None:
    """The values of a variable that CALL_ONCE alone assigns, such as a table; None: it changes."""
    operators = w.model.operators
    names = {each.outputs[0]: variable_name(each) for each in operators if each.name == _HANDLE}
    changed = {names.get(each.inputs[0]) for each in operators if each.name == "ASSIGN_VARIABLE"}
    first, read = w.first_values.get(shared), w.tensor(op.outputs[0])
    if not shared or shared in changed or first is None:
        return None
    if first.data is None:
        raise w.refused(op, "what CALL_ONCE assigns to its variable is computed")
    if not alike(first, read) or first.shape != read.shape:
        raise w.refused(op, f"CALL_ONCE assigns {first.dtype} {first.shape} to its variable")
    return first.data


def _beginning(
    w: OnnxWriter, op: TfliteOperator, tensor: TfliteTensor, first: TfliteTensor | None
) -> str:
    """What a variable begins with, for people."""
    count = math.prod(tensor.shape)
    if first is None:
        return f"{count} values of {tensor.zero if tensor.quantized else 0}"
    if first.data is None:
        raise w.refused(op, "what CALL_ONCE assigns to its variable is computed")
    ends = sorted({first.data.min().item(), first.data.max().item()})
    if len(ends) == 1:
        return f"{count} values of {ends[0]}"
    return f"the {count} values, {ends[0]} to {ends[1]}, of the constant {first.name!r}"
