"""A layer's two results, the program's and ONNX Runtime's, beside what is exact."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.evaluation.oracle import Oracle
from edgekiln.compiler.evaluation.referee import Referee

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Layer


@dataclass(frozen=True, kw_only=True)
class Held:
    """Values that can be compared, see `codes_of`."""

    program: "NDArray[np.generic]"
    onnxruntime: "NDArray[np.generic]"
    exact: "NDArray[np.generic]"
    # The program's where float32 may have made them, the exact ones elsewhere.
    allowed: "NDArray[np.generic]"


class Exact:
    """What exact arithmetic makes of the layers of a model."""

    def __init__(self, oracle: Oracle, known: Set[str]) -> None:
        """`known` are tensors whose values are given, see `Referee`."""
        self._ties, self._referee = oracle.ties, Referee(oracle.model, known)

    def held(
        self, layer: "Layer", mine: "NDArray[np.generic]", theirs: "NDArray[np.generic]",
        truth: "Mapping[str, NDArray[np.generic]]",
    ) -> Held | None:  # fmt: skip
        """Hold the results of a layer of one call against it; None where nothing computes it.

        Args:
            truth: ONNX Runtime's tensors of the call.
        """
        exact = self._referee.judge(layer.name, truth)
        if exact is None or exact.shape != theirs.shape:
            return None
        codes, others = (codes_of(layer, mine, each) for each in (mine, theirs))
        right = allowed = codes_of(layer, mine, exact.astype(theirs.dtype))
        if layer.output and layer.output.zero_point is not None:
            # A tie that float32 can tell goes to the even code.
            doubt, none = self._ties.doubt(
                layer.name, truth, lambda real: self._referee.judge(real, truth)
            )
            bounds = self._referee.bounds(layer.name, truth, doubt)
            assert bounds is not None, layer.name  # `judge` has computed it
            low, high = (codes_of(layer, mine, each.astype(theirs.dtype)) for each in bounds)
            near = np.less_equal(low, codes) & np.less_equal(codes, high)
            if none is not None:  # such as 0 / 0: any code is as right as another
                near, right = near | none, np.where(none, others, right)
            allowed = np.where(near, codes, right)
        return Held(program=codes, onnxruntime=others, exact=right, allowed=allowed)


def codes_of(
    layer: "Layer", mine: "NDArray[np.generic]", values: "NDArray[np.generic]"
) -> "NDArray[np.generic]":
    """Values that can be compared: floats as they are, codes without the zero point.

    The program, of which `mine` is, may use codes with a sign for those without one, or the other
    way round.
    """
    assert layer.output is not None, layer.name
    zero = layer.output.zero_point
    if zero is None:
        return values
    return values.astype(np.int32) + code_shift(mine, values) - zero


def code_shift(mine: "NDArray[np.generic]", values: "NDArray[np.generic]") -> int:
    """What is added to the model's codes to make them the program's, of as many bits."""
    return _middle(mine.dtype) - _middle(values.dtype)


def _middle(dtype: "np.dtype[np.generic]") -> int:
    """The code of a type that has as many below it as from it on."""
    return 1 << 8 * dtype.itemsize - 1 if dtype.kind == "u" else 0
