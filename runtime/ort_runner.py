"""ONNX Runtime, the reference that a compiled program is held to, as a runner."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekiln.runtime.errors import InputError, MissingToolError
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.runner import check_inputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Optimization = Literal["disable", "basic", "extended", "all"]


class OrtRunner:
    """ONNX Runtime on the CPU."""

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int = 1,
        optimization: Optimization = "all",
        batch: int = 1,
    ) -> None:
        """`batch` is the extent of an axis that has only a name.

        Raises:
            MissingToolError: ONNX Runtime is not installed.
            InputError: it refuses the model.
        """
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = {
            "disable": levels.ORT_DISABLE_ALL,
            "basic": levels.ORT_ENABLE_BASIC,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "all": levels.ORT_ENABLE_ALL,
        }[optimization]
        options.log_severity_level = 3  # errors; its warnings are about graphs that still run
        source = model if isinstance(model, bytes) else str(model)
        try:
            self.session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception classes share no base of their own
            name = "the model" if isinstance(model, bytes) else model
            raise InputError(
                f"ONNX Runtime cannot load {name}: {str(error).strip().splitlines()[0]}",
                hint="is it a whole .onnx file? Optimization 'basic' accepts some more models",
            ) from error
        self.inputs = tuple(_ort_spec(each, batch) for each in self.session.get_inputs())
        self.outputs = tuple(_ort_spec(each, batch) for each in self.session.get_outputs())

    def run(self, *arrays: "NDArray[np.generic]") -> "list[NDArray[np.generic]]":
        """One inference. Raises InputError."""
        check_inputs(arrays, self.inputs)
        names = [spec.name for spec in self.inputs]
        results: list[NDArray[np.generic]] = self.session.run(
            None, dict(zip(names, arrays, strict=True))
        )
        return results


def import_onnxruntime() -> Any:  # it ships no types
    """Raises MissingToolError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingToolError(
            "ONNX Runtime is not installed", hint="pip install onnxruntime"
        ) from error
    return onnxruntime


def _ort_spec(value: Any, batch: int) -> TensorSpec:  # ONNX Runtime ships no types
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(
        name=value.name,
        shape=tuple(extent if isinstance(extent, int) else batch for extent in value.shape),
        dtype={"float": "float32", "double": "float64"}.get(kind, kind),
    )
