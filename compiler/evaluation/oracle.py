"""ONNX Runtime as the oracle of `verify`: every tensor of a model that is asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.evaluation.ties import Ties
from edgekiln.compiler.onnx_model.stream_session import StreamSession

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.model_inputs import Inputs


class Oracle:
    """ONNX Runtime with the tensors we ask for as extra outputs."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        import hashlib

        from edgekiln.compiler.onnx_model.io import load_model, read_meta
        from edgekiln.compiler.onnx_model.model_bytes import model_bytes
        from edgekiln.compiler.onnx_model.model_inputs import of_model
        from edgekiln.compiler.onnx_model.stream_session import open_session

        self.sha256 = hashlib.sha256(model_bytes(path)).hexdigest()
        self.model = load_model(path)
        # By place: a model may name one value as several outputs.
        kept = {after for _, after in read_meta(self.model).states}
        outputs = (value.name for value in self.model.graph.output)
        self.outputs = tuple(name for name in outputs if name not in kept)
        self.ties = Ties(self.model, names)
        exposed = load_model(path)
        self._expose(exposed, [*names, *self.ties.floats])
        self._session = open_session(exposed, optimize=False)
        self._names = [value.name for value in exposed.graph.output]
        self._takes = of_model(self.model)

    @staticmethod
    def _expose(model: "onnx.ModelProto", names: Sequence[str]) -> None:
        from onnx import helper

        made = {name for node in model.graph.node for name in node.output}
        known = {value.name for value in model.graph.output}
        for name in names:
            if name in made and name not in known:
                model.graph.output.append(helper.make_empty_tensor_value_info(name))

    def steps(self, given: "Inputs") -> "Iterator[tuple[Inputs, dict[str, NDArray[np.generic]]]]":
        """The inputs of each call, one or the steps of a stream; and all tensors that were asked
        for, and the inputs, states included, by name.
        """
        if isinstance(self._session, StreamSession):
            names = [*self._names, *(state.input for state in self._takes.states)]
            for place, truth in enumerate(self._session.steps(given, names)):
                here = {name: array[place] for name, array in given.items()}
                yield here, {**here, **truth}
        else:
            results = self._session(given, self._names)
            yield given, {**given, **dict(zip(self._names, results, strict=True))}
