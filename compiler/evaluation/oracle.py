"""ONNX Runtime as the oracle of `verify`: every tensor of a model that is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.model_inputs import Inputs


class Oracle:
    """ONNX Runtime with the tensors we ask for as extra outputs."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        import hashlib

        from edgekiln.compiler.onnx_model.io import load_model
        from edgekiln.compiler.onnx_model.session import Session

        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.model = load_model(path)
        # By place: a model may name one value as several outputs.
        self.outputs = tuple(value.name for value in self.model.graph.output)
        exposed = load_model(path)
        self._expose(exposed, names)
        self._session = Session(exposed, optimize=False)

    @staticmethod
    def _expose(model: "onnx.ModelProto", names: Sequence[str]) -> None:
        from onnx import helper

        made = {name for node in model.graph.node for name in node.output}
        known = {value.name for value in model.graph.output}
        for name in names:
            if name in made and name not in known:
                model.graph.output.append(helper.make_empty_tensor_value_info(name))

    def run(self, given: "Inputs") -> "dict[str, NDArray[np.generic]]":
        """All tensors that were asked for, and the inputs, by name."""
        return {**given, **dict(zip(self._session.outputs, self._session(given), strict=True))}
