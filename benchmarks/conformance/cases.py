"""The node tests that the `onnx` package ships, in the forms in which users' models have them."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = list[NDArray[np.generic]]

# As ONNX generates them, parameters being inputs of the graph; with all inputs but the first as
# constants, as exporters write parameters; and that between QuantizeLinear and DequantizeLinear.
Form = Literal["generated", "constants", "qdq"]
FORMS: tuple[Form, ...] = ("generated", "constants", "qdq")

_ELEMENT_KINDS = "biufc"  # of numpy's dtypes: numbers and truth values
_CODES = 255
_CLOSE = 1e-3  # far less than a code of the results of these tests
_WEIGHTS_ARE_NO_INPUTS = 4  # version of ONNX's file format since when they need not be listed


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One model, its inputs, and the outputs it must give."""

    name: str
    form: Form
    model: onnx.ModelProto
    inputs: "Arrays"
    outputs: "Arrays"
    rtol: float
    atol: float


def cases(form: Form) -> Iterator[Case]:
    """Every numeric case in one form; those that the form does not fit are left out."""
    with warnings.catch_warnings():  # of the generators: overflows that the tests are about
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        tests = collect_testcases(None)
    for test in tests:
        if not test.data_sets or test.model is None:
            continue
        # Tests of nodes have one set of data.
        inputs, outputs = (_arrays(values) for values in test.data_sets[0])
        if inputs is None or outputs is None:
            continue  # strings, sequences, optional values
        case = Case(
            name=test.name,
            form="generated",
            model=test.model,
            inputs=inputs,
            outputs=outputs,
            rtol=test.rtol,
            atol=test.atol,
        )
        if form != "generated":
            case = with_constants(case)
        if form == "qdq":
            quantized = between_codes(case)
            if quantized is None:
                continue
            case = quantized
        yield case


def with_constants(case: Case) -> Case:
    """All inputs but the first as initializers."""
    model = _copy(case.model)
    names = [value.name for value in model.graph.input]
    for name, array in zip(names[1:], case.inputs[1:], strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    del model.graph.input[1:]
    model.ir_version = max(model.ir_version, _WEIGHTS_ARE_NO_INPUTS)
    return Case(
        name=case.name,
        form="constants",
        model=model,
        inputs=case.inputs[:1],
        outputs=case.outputs,
        rtol=case.rtol,
        atol=case.atol,
    )


def between_codes(case: Case) -> Case | None:
    """The case with its float32 input and outputs quantized to int8; None where they are not.

    The outputs it must give are ONNX Runtime's for this same model, each within one code: ties of
    floats may fall either way. Where ONNX Runtime is off on the floats, they are those of ONNX's
    reference implementation.
    """
    model = _copy(case.model)
    graph = model.graph
    arrays = [*case.inputs, *case.outputs]
    if len(case.inputs) != 1 or not graph.node:
        return None
    if any(array.dtype != np.float32 or not array.size for array in arrays):
        return None
    if not all(np.isfinite(array).all() for array in arrays) or _opset(model) < 13:
        return None
    (source,) = (value.name for value in graph.input)
    before = _codes(graph, source, f"{source}:codes", case.inputs[0])
    inside = {source: before[-1].output[0]}
    after: list[onnx.NodeProto] = []
    for value, array in zip(graph.output, case.outputs, strict=True):
        inner = f"{value.name}:inner"
        inside[value.name] = inner
        after += _codes(graph, inner, value.name, array, last=value.name)
    # Copies: the list that they are in is emptied below.
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    for node in nodes:
        node.input[:] = [inside.get(name, name) for name in node.input]
        node.output[:] = [inside.get(name, name) for name in node.output]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    expected = _by_onnxruntime(model, case.inputs)
    if expected is None:
        return None
    if not _agrees(_by_onnxruntime(case.model, case.inputs), case):
        expected = _by_reference(model, case.inputs) or expected
    step = max(_scale(array) for array in case.outputs)
    return Case(
        name=case.name,
        form="qdq",
        model=model,
        inputs=case.inputs,
        outputs=expected,
        rtol=0.0,
        # One code, and what float32 makes of it.
        atol=float(step) * 1.001,
    )


def _codes(
    graph: onnx.GraphProto, source: str, stem: str, array: "NDArray[np.generic]", last: str = ""
) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear of a value with the range of `array`."""
    low = min(0.0, float(array.min()))
    scale = _scale(array)
    # The least value is code -128.
    zero = np.int8(np.clip(np.rint(-128 - low / scale), -128, 127))
    numbers = (f"{stem}:scale", f"{stem}:zero")
    for name, number in zip(numbers, (scale, zero), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array(number), name))
    quantized = f"{stem}:quantized"
    return [
        helper.make_node("QuantizeLinear", [source, *numbers], [quantized]),
        helper.make_node("DequantizeLinear", [quantized, *numbers], [last or f"{stem}:real"]),
    ]


def _scale(array: "NDArray[np.generic]") -> np.float32:
    low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
    # A tensor of zeros has no range; any scale will do.
    return np.float32((high - low) / _CODES or 1.0)


def _by_onnxruntime(model: onnx.ModelProto, inputs: "Arrays") -> "Arrays | None":
    """What ONNX Runtime computes without optimizations; None where it does not run the model."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_inputs()]
        results: Arrays = session.run(None, dict(zip(names, inputs, strict=True)))
    except Exception:  # its exception classes share no base of their own
        return None
    return results


def _by_reference(model: onnx.ModelProto, inputs: "Arrays") -> "Arrays | None":
    """What ONNX's reference implementation computes; None where it does not run the model."""
    names = [value.name for value in model.graph.input]
    try:
        results = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    except Exception:  # whatever its operators raise
        return None
    return [np.asarray(result) for result in results]


def _agrees(results: "Arrays | None", case: Case) -> bool:
    return results is not None and all(
        ours.shape == right.shape
        and np.allclose(ours, right, rtol=max(case.rtol, _CLOSE), atol=_CLOSE)
        for ours, right in zip(results, case.outputs, strict=True)
    )


def _arrays(values: Iterable[object]) -> "Arrays | None":
    """What a test says of its tensors; None where one is not of numbers."""
    # Types that numpy lacks come as ONNX's messages.
    found = [
        numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        for value in values
    ]
    arrays = [np.asarray(value) for value in found if isinstance(value, np.ndarray | np.generic)]
    return arrays if len(arrays) == len(found) and all(map(_is_numeric, arrays)) else None


def _is_numeric(array: "NDArray[np.generic]") -> bool:
    # Half bytes, bytes and bfloat16, which ml_dtypes adds to numpy, are of no kind of its own.
    return array.dtype.kind in _ELEMENT_KINDS or array.dtype.type.__module__ == "ml_dtypes"


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
