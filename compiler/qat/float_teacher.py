"""The float model in ONNX Runtime, as a module that a fit asks for its outputs."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.ranges import with_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from edgekiln.compiler.onnx_model.model_inputs import ModelInputs

_TAIL = ("LogSoftmax", "Softmax")


class FloatTeacher(nn.Module):
    """Gives the outputs of a float model, without a softmax behind them."""

    def __init__(self, model: "onnx.ModelProto", takes: "ModelInputs") -> None:
        super().__init__()
        self._ends = ends_of_model(model)
        self._takes = takes
        self._session = Session(with_outputs(model, self._ends.values()), optimize=True)

    def forward(self, *inputs: "Tensor") -> "dict[str, Tensor]":
        """The outputs, (N, …) each, by their names in the model, for inputs in its order."""
        arrays = {
            each.name: x.cpu().numpy().reshape(len(x), *each.shape).astype(each.dtype, copy=False)
            for each, x in zip(self._takes.inputs, inputs, strict=True)
        }
        found = self._called(arrays, len(inputs[0]))
        return {
            name: torch.from_numpy(array).to(inputs[0].device)
            for name, array in zip(self._ends, found, strict=True)
        }

    def _called(
        self, arrays: "Mapping[str, NDArray[np.generic]]", count: int
    ) -> "list[NDArray[np.generic]]":
        names, batch = list(self._ends.values()), self._takes.batch
        if batch is None:
            return list(self._session(arrays, names))
        # A model of a fixed batch is called as often as needed, the last time with samples that
        # come again.
        order = np.arange(-(-count // batch) * batch) % count
        calls = [
            self._session({key: array[chosen] for key, array in arrays.items()}, names)
            for chosen in order.reshape(-1, batch)
        ]
        return [np.concatenate(parts)[:count] for parts in zip(*calls, strict=True)]


def ends_of_model(model: "onnx.ModelProto") -> dict[str, str]:
    """What is compared of each output, by its name: the logits where a softmax makes it. Losses of
    classes want those.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for value in model.graph.output:
        name = value.name
        while name in makers and makers[name].op_type in _TAIL:
            name = makers[name].input[0]
        found[value.name] = name
    return found
