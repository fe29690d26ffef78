"""What a node makes of constants."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.session_options import session_options

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Arrays = list[NDArray[np.generic]]

# The newest version of ONNX's file format that a node of any operator set is taken in.
_IR_VERSION = 10
_FLOATS = ("float16", "float32", "float64")


def constant_result(
    node: "onnx.NodeProto",
    feeds: Mapping[str, "NDArray[np.generic]"],
    opsets: Iterable["onnx.OperatorSetIdProto"],
) -> "Arrays":
    """Compute the outputs of a node whose operands are `feeds`; those without a name are left out.

    Floats are ONNX Runtime's, which every program is held against: ONNX's reference implementation
    has some operators wrong, an LRN or an LSTM with lengths among them. Integers are the
    reference's: ONNX Runtime lacks kernels for some types of shape arithmetic, and a division by
    zero ends its process.

    Raises:
        Exception: of many classes, where the operator forbids these operands.
    """
    import numpy as np
    import onnxruntime as ort
    from onnx.reference import ReferenceEvaluator

    part = part_of([node], feeds, filter(None, node.output), opsets)
    if any(array.dtype.name in _FLOATS for array in feeds.values()):
        with contextlib.suppress(Exception):  # of many classes: it has no kernel for this type
            session = ort.InferenceSession(part.SerializeToString(), session_options())
            return [np.asarray(out) for out in session.run(None, dict(feeds))]
    return [np.asarray(out) for out in ReferenceEvaluator(part).run(None, dict(feeds))]


def part_of(
    nodes: Iterable["onnx.NodeProto"],
    feeds: Mapping[str, "NDArray[np.generic]"],
    outputs: Iterable[str],
    opsets: Iterable["onnx.OperatorSetIdProto"],
) -> "onnx.ModelProto":
    """A model of some nodes, with the types and shapes of what they are given."""
    from onnx import helper

    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    graph = helper.make_graph(
        list(nodes),
        "part",
        [helper.make_tensor_value_info(n, types[n], array.shape) for n, array in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=list(opsets), ir_version=_IR_VERSION)
