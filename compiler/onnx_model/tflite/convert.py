"""A TFLite file becomes an ONNX model: the table of operators, and the walk through the graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import own_functions
from edgekiln.compiler.onnx_model.model_bytes import model_bytes
from edgekiln.compiler.onnx_model.tflite import (
    edges,
    elementwise,
    functions,
    moves,
    products,
    subgraphs,
    tables,
    variables,
    windows,
)
from edgekiln.compiler.onnx_model.tflite.model import (
    TfliteModel,
    TfliteOperator,
    apart,
    damaged,
    parse,
)
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter
from edgekiln.compiler.onnx_model.tflite.wire import NoTablesError
from edgekiln.runtime.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import onnx

SUFFIX = ".tflite"

Rule = Callable[[OnnxWriter, TfliteOperator], None]


@dataclass(frozen=True, kw_only=True)
class TfliteRow:
    """What becomes of one of TFLite's operators.

    Args:
        codes: what of int8 is equal to TFLite's reference kernels, for people; "" if there is no
            integer form.
        floats: whether float32 is computed.
    """

    rule: Rule
    codes: str = ""
    floats: bool = True


_EQUAL, _MOVED = "bit-equal", "bit-equal: codes are moved as they are"
_TABLE = "bit-equal: a table of 256 entries"

OPERATORS: Mapping[str, TfliteRow] = {
    "CONV_2D": TfliteRow(rule=products.conv, codes=_EQUAL),
    "DEPTHWISE_CONV_2D": TfliteRow(rule=products.depthwise, codes=_EQUAL),
    "FULLY_CONNECTED": TfliteRow(rule=products.dense, codes=_EQUAL),
    "TRANSPOSE_CONV": TfliteRow(rule=products.transpose_conv, codes=_EQUAL),
    "ADD": TfliteRow(rule=elementwise.binary, codes=_EQUAL),
    "SUB": TfliteRow(rule=elementwise.binary, codes=_EQUAL),
    "MUL": TfliteRow(rule=elementwise.binary, codes=_EQUAL),
    "PRELU": TfliteRow(rule=elementwise.binary, codes=_EQUAL),
    "AVERAGE_POOL_2D": TfliteRow(rule=windows.pool, codes=_EQUAL),
    "MAX_POOL_2D": TfliteRow(rule=windows.pool, codes=_EQUAL),
    "MEAN": TfliteRow(rule=windows.mean, codes=_EQUAL + ", over height and width or tokens"),
    "SOFTMAX": TfliteRow(rule=edges.softmax, codes=_EQUAL),
    "QUANTIZE": TfliteRow(rule=edges.quantize, codes=_EQUAL),
    "DEQUANTIZE": TfliteRow(rule=edges.dequantize, codes=_EQUAL),
    **{
        name: TfliteRow(rule=tables.unary, codes=_TABLE)
        for name in (
            "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1", "TANH"
        )
    },
    **{
        name: TfliteRow(rule=moves.reshape, codes=_MOVED)
        for name in ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
    },
    **{name: TfliteRow(rule=moves.pad, codes=_MOVED) for name in ("PAD", "PADV2")},
    **{
        name: TfliteRow(rule=moves.strided_slice, codes=_MOVED)
        for name in ("SLICE", "STRIDED_SLICE")
    },
    **{name: TfliteRow(rule=moves.split, codes=_MOVED) for name in ("SPLIT", "SPLIT_V")},
    **{
        name: TfliteRow(rule=moves.depth, codes=_MOVED)
        for name in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
    },
    "CONCATENATION": TfliteRow(rule=moves.concat, codes=_MOVED),
    "TRANSPOSE": TfliteRow(rule=moves.transpose, codes=_MOVED),
    "RESIZE_NEAREST_NEIGHBOR": TfliteRow(rule=windows.resize, codes=_MOVED),
    "RESIZE_BILINEAR": TfliteRow(
        rule=windows.resize, codes="within one code: computed in floats"
    ),
    **{
        name: TfliteRow(rule=windows.mean)
        for name in ("REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM")
    },
    **{
        name: TfliteRow(rule=elementwise.binary)
        for name in ("DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE")
    },
    "BATCH_MATMUL": TfliteRow(rule=products.batch_matmul),
    **{
        name: TfliteRow(rule=tables.unary)
        for name in (
            "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "LOG", "NEG", "ROUND", "RSQRT", "SIN",
            "SQRT", "SQUARE",
        )
    },
    **{
        name: TfliteRow(rule=variables.keep, codes="the step's inputs and outputs")
        for name in ("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE")
    },
}  # fmt: skip


def to_onnx(path: Path, most_elements: int, notes: list[str]) -> "onnx.ModelProto":
    """Read a TFLite file as an ONNX model, in which TFLite's arithmetic is functions.

    Args:
        most_elements: of one tensor.
        notes: gets a sentence for each thing that the file's user should know.

    Raises:
        InputError: no such file, or not a valid model.
        UnsupportedError: a valid one with parts that no program can hold.
    """
    model = parse(model_bytes(path), str(path), most_elements)
    try:
        return _converted(model, str(path), notes)
    except NoTablesError as error:
        raise damaged(str(path), error) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Shapes, axes and options that contradict each other, as no converter writes them.
        raise InputError(
            f"{path}: not a TFLite file that makes sense: {error}",
            hint="download or convert it again",
        ) from error


def _converted(file: TfliteModel, where: str, notes: list[str]) -> "onnx.ModelProto":
    import onnx

    model = subgraphs.written_out(file.graphs)
    model = replace(model, tensors=apart(model.tensors))
    w = OnnxWriter(model=model, where=where, first_values=subgraphs.first_values(file.graphs))
    # Callers know the inputs by these names, so no other tensor may take one.
    w.taken.update(tensor.name for tensor in (model.tensors[i] for i in model.inputs))
    for number in model.inputs:
        w.given(number)
    # The schema has operators in the order of execution: operands are made before they are read.
    written = set(model.inputs)
    for operator in model.operators:
        row = OPERATORS.get(operator.name)
        if operator.name in ("IF", "WHILE"):
            raise w.refused(operator, "its condition is not a constant, or holds too often")
        if row is None:
            raise w.refused(operator, "nothing computes it")
        _check_results(w, operator, written)
        row.rule(w, operator)
        if row.rule is not variables.keep and not w.are_made(operator.outputs):
            raise w.refused(operator, f"{len(operator.outputs)} results of it")
    outputs = [*model.outputs, *w.next_values.values()]
    if not w.nodes:
        raise UnsupportedError(f"{where}: its graph computes nothing")
    results = [_result(w, number) for number in outputs]
    for place, variable in enumerate(w.next_values, len(model.outputs)):
        results[place] = w.renamed(results[place], variables.next_name(variable), results)
    graph = onnx.helper.make_graph(
        w.nodes,
        "tflite",
        [
            *(_described(w, n, w.tensor(n).name, of_file=True) for n in model.inputs),
            *(_described(w, n, w.rows[n]) for n in w.last_values.values()),
        ],
        [
            _described(w, n, name, of_file=place < len(model.outputs))
            for place, (n, name) in enumerate(zip(outputs, results, strict=True))
        ],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in w.used()],
    )
    opsets = [onnx.helper.make_opsetid("", own_functions.OPSET)]
    if any(node.domain == functions.DOMAIN for node in w.nodes):
        opsets.append(onnx.helper.make_opsetid(functions.DOMAIN, 1))
    made = onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=own_functions.IR_VERSION, producer_name="edgekiln"
    )
    own_functions.add_functions(made)
    notes.append("it was read as ONNX, with TFLite's own arithmetic")
    if file.signatures:
        others = ", ".join(map(repr, file.signatures))
        which = f"signature {others} is another one's"
        if len(file.signatures) > 1:
            which = f"signatures {others} are others'"
        notes.append(f"the file's first graph is the model; its {which}")
    notes += w.notes
    return made


def _check_results(w: OnnxWriter, op: TfliteOperator, written: set[int]) -> None:
    """A tensor that is written has one writer; what is written is added to `written`."""
    for number in op.outputs:
        if number in written or w.constant(number) is not None:
            raise w.refused(op, f"{w.tensor(number).name!r} has a value before")
        written.add(number)


def _described(
    w: OnnxWriter, number: int, name: str, *, of_file: bool = False
) -> "onnx.ValueInfoProto":
    """Args:
    of_file: whether codes are of the type that the file has.
    """
    import onnx

    tensor = w.tensor(number)
    try:
        dtype = "uint8" if of_file and tensor.unsigned else tensor.dtype
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    except TypeError as error:
        raise UnsupportedError(
            f"{w.where}: tensor {tensor.name!r} is of {tensor.dtype}",
            hint="a program takes and gives numbers",
        ) from error
    return onnx.helper.make_tensor_value_info(name, kind, tensor.shape)


def _result(w: OnnxWriter, number: int) -> str:
    """The name of an output, which a node makes."""
    name, tensor = w.in_rows(number), w.tensor(number)
    if tensor.unsigned and number in w.model.outputs:
        return w.unsigned(name, tensor)
    made = {each for node in w.nodes for each in node.output}
    return name if name in made else w.op("Identity", (name,), f"{name}.output")
