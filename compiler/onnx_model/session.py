"""ONNX Runtime as the oracle: sessions that are quiet, polite and answer with clear errors."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import text_cut
from edgekiln.compiler.onnx_model.blocked_weights import multiplied_in_floats
from edgekiln.compiler.onnx_model.session_options import session_options
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

# ONNX Runtime 1.32 gives other numbers than the operators that it puts in their place: a Transpose
# in front of a product with a vector; and float weights between codes, which become int8.
_WRONG_OPTIMIZERS = ["MatmulTransposeFusion", "WeightBiasQuantization"]
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")

# What it says of a Gather by a number that the table has no row for.
_OUT_OF_TABLE = "indices element out of data bounds"


class Session:
    """One model, loaded; call it with an array for each input, by name.

    Args:
        optimize: all of ONNX Runtime's rewrites that keep the numbers. Without it only the basic
            ones, as quantized models need: the higher levels refuse some valid QDQ graphs
            (DQ → Slice, 1.32) and fuse operations into integer kernels that round in other places.
        save_to: write the rewritten model there.
    """

    def __init__(
        self, model: "onnx.ModelProto", *, optimize: bool, save_to: Path | None = None
    ) -> None:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        levels = ort.GraphOptimizationLevel
        network, self._texts = text_cut.cut(multiplied_in_floats(model))
        options = session_options()
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimize else levels.ORT_ENABLE_BASIC
        )
        if save_to is not None:
            options.optimized_model_filepath = str(save_to)
        try:
            self._session = ort.InferenceSession(
                network.SerializeToString(), options, providers=["CPUExecutionProvider"],
                disabled_optimizers=_WRONG_OPTIMIZERS,
            )  # fmt: skip
        except (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.NotImplemented,
            state.RuntimeException,
        ) as error:
            raise UnsupportedError(
                f"ONNX Runtime cannot load the model: {_reason(error)}"
            ) from error
        # What no node reads is no input of the session's.
        self._reads = tuple(i.name for i in self._session.get_inputs())
        read = {*self._reads, *self._texts}
        self.inputs: tuple[str, ...] = tuple(
            value.name for value in model.graph.input if value.name in read
        )
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def __call__(
        self,
        given: Mapping[str, NDArray[np.generic]] | NDArray[np.generic],
        outputs: Sequence[str] | None = None,
    ) -> list[NDArray[Any]]:  # of whichever numbers the model gives
        """Run one call; `outputs` picks some of the model's by name. An array alone is that of the
        model's only input.

        Raises:
            UnsupportedError: the model cannot compute this.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        if isinstance(given, np.ndarray):
            given = {self.inputs[0]: given}
        known = dict(given)
        for text in self._texts.values():
            known |= text.tokens(known[text.name])
        feeds = {name: known[name] for name in self._reads}
        try:
            # As above.
            results: list[NDArray[Any]] = self._session.run(outputs, feeds)
        except (state.Fail, state.InvalidArgument, state.RuntimeException) as error:
            raise UnsupportedError(
                f"ONNX Runtime fails on {_shapes(feeds)}: {_reason(error)}",
                hint=_hint(error),
            ) from error
        return results


def _shapes(given: Mapping[str, NDArray[np.generic]]) -> str:
    """ "inputs x (32, 3, 8, 8), mask (32, 8)"."""
    many = "inputs" if len(given) > 1 else "input"
    return f"{many} {', '.join(f'{name} {array.shape}' for name, array in given.items())}"


def _hint(error: Exception) -> str:
    if _OUT_OF_TABLE in str(error):
        return "the samples hold a number beyond the table's rows: give those it was trained with"
    return "a Reshape to one fixed batch is the usual cause: export with a fixed batch"


def _reason(error: Exception) -> str:
    """The first line without ONNX Runtime's error code."""
    return _CODE.sub("", str(error).strip().splitlines()[0])
