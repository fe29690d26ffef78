"""Variables: what a streaming model keeps from call to call.

The step itself keeps nothing: the last value of a variable is an input, the next one an output.
"""

import math

from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter


def next_name(variable: str) -> str:
    """What a variable's next value is called."""
    return f"{variable}.next"


def keep(w: OnnxWriter, op: TfliteOperator) -> None:
    """VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE; CALL_ONCE sets what each begins with."""
    if op.name == "CALL_ONCE":
        return
    if op.name == "VAR_HANDLE":
        w.variables[op.outputs[0]] = w.tensor(op.outputs[0]).name
        return
    variable = w.variables.get(op.inputs[0] if op.inputs else -1)
    if variable is None:
        raise w.refused(op, "it names no variable")
    if op.name == "READ_VARIABLE":
        number = op.outputs[0]
        if variable in w.next_values:
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
    zero = tensor.zero if tensor.quantized else 0
    w.notes.append(
        f"variable {variable!r} is an input, the output {next_name(variable)!r} its next value: "
        f"begin with {math.prod(tensor.shape)} values of {zero}"
    )
