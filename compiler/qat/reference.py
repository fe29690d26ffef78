"""Operators by ONNX's reference implementation: what the integer program's tables hold."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    Function = Callable[[NDArray[np.generic]], list[NDArray[np.generic]]]

_INPUT = "x"


def function_of(
    node: "onnx.NodeProto", constants: "Mapping[int, NDArray[np.generic]]", opset: int
) -> "Function":
    """What a node makes of its one operand that is no constant, which may stand at several places.

    Args:
        constants: by the place of the operand.
    """
    import onnx

    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    for place, name in enumerate(node.input):
        if name and place not in constants:
            alone.input[place] = _INPUT
    given = {node.input[place]: array for place, array in constants.items()}
    return function_of_parts([alone], _INPUT, given, opset)


def function_of_parts(
    nodes: "Sequence[onnx.NodeProto]", x: str, constants: "Mapping[str, NDArray[np.generic]]",
    opset: int,
) -> "Function":  # fmt: skip
    """What nodes make of one tensor `x`; the results of the last one."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    given = [
        onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        for name, array in constants.items()
    ]
    ends = [onnx.helper.make_empty_tensor_value_info(name) for name in (x, *nodes[-1].output)]
    graph = onnx.helper.make_graph(list(nodes), "operator", ends[:1], ends[1:], given)
    opsets = [onnx.helper.make_opsetid(nodes[-1].domain, opset)]
    evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))

    def function(values: "NDArray[np.generic]") -> "list[NDArray[np.generic]]":
        with np.errstate(all="ignore"):  # log(0) of codes that never occur
            return [np.asarray(each) for each in evaluator.run(None, {x: values})]

    return function
