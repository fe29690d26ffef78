"""ONNX Runtime as the oracle: sessions that are quiet, polite and answer with clear errors."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_FATAL_ONLY = 4  # severity, from 0, verbose. Errors arrive as exceptions


def session_options() -> Any:  # ONNX Runtime ships no types
    """`onnxruntime.SessionOptions` without warnings, and without threads that spin while idle."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class Session:
    """One model, loaded; call it with a batch.

    Args:
        optimize: all of ONNX Runtime's rewrites. Without it only the basic ones, as quantized
            models need: the higher levels refuse some valid QDQ graphs (DQ → Slice, 1.32) and
            fuse operations into integer kernels that round in other places.
        save_to: write the rewritten model there.
    """

    def __init__(
        self, model: "onnx.ModelProto", *, optimize: bool, save_to: Path | None = None
    ) -> None:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        levels = ort.GraphOptimizationLevel
        options = session_options()
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimize else levels.ORT_ENABLE_BASIC
        )
        if save_to is not None:
            options.optimized_model_filepath = str(save_to)
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
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
        self._input = self._session.get_inputs()[0].name
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def __call__(
        self, batch: NDArray[np.float32], outputs: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:  # of whichever numbers the model gives
        """Run one batch; `outputs` picks some of the model's by name.

        Raises:
            UnsupportedError: the model cannot compute this batch.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            # As above.
            results: list[NDArray[Any]] = self._session.run(outputs, {self._input: batch})
        except (state.Fail, state.InvalidArgument, state.RuntimeException) as error:
            raise UnsupportedError(
                f"ONNX Runtime fails on a batch of {len(batch)}: {_reason(error)}",
                hint="a Reshape to one fixed batch is the usual cause: export with a fixed batch",
            ) from error
        return results


def _reason(error: Exception) -> str:
    """The first line without ONNX Runtime's error code."""
    return _CODE.sub("", str(error).strip().splitlines()[0])
