"""Which differing codes lie so near to the middle between two codes that floats cannot tell them.

ONNX Runtime rounds a float, which it is asked for, too. An engine that has added the same terms in
another order, or exactly, may round a value to the other neighbour, and to no other code.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

# In steps: what float32 leaves in doubt of a sum of thousands of products that cancel each other.
# A wrong value is as near to the middle in one case of ten: `Ties.doubt` measures what is left.
NEAR = 0.05
_ROOM = 4.0  # the program's float32 may be as much farther off than ONNX Runtime's

InFloat64: TypeAlias = "Callable[[str], NDArray[np.generic] | None]"


class Ties:
    """The quantized tensors of a model whose scale is a constant."""

    def __init__(self, model: "onnx.ModelProto", names: "Sequence[str]") -> None:
        import onnx

        weights = {weight.name: weight for weight in model.graph.initializer}
        makers = {name: node for node in model.graph.node for name in node.output}
        self._rounded: dict[str, tuple[str, float]] = {}  # by name: of which float, by which scale
        for name in names:
            node = makers.get(name)
            if node is None or node.op_type != "QuantizeLinear" or node.input[1] not in weights:
                continue
            scale = onnx.numpy_helper.to_array(weights[node.input[1]])
            if scale.size == 1 and node.input[0] not in weights:
                self._rounded[name] = node.input[0], float(scale.reshape(()))

    @property
    def floats(self) -> list[str]:
        """The tensors that are rounded, whose values `are_ties` needs."""
        return list(dict.fromkeys(real for real, _ in self._rounded.values()))

    def are_ties(
        self,
        name: str,
        codes: "NDArray[np.generic]",
        others: "NDArray[np.generic]",
        values: "Mapping[str, NDArray[np.generic]]",
    ) -> "NDArray[np.bool_]":
        """Where two results of tensor `name`, as codes above the zero point, are the neighbours of
        a middle, and the float that was rounded is near to it; nowhere if that is not known.
        """
        real, scale = self._rounded.get(name, ("", 1.0))
        if real not in values or values[real].shape != codes.shape:
            return np.zeros(codes.shape, np.bool_)
        low = np.minimum(codes, others).astype(np.float64)
        beside = np.abs(codes.astype(np.int64) - others.astype(np.int64)) == 1
        near = np.abs(values[real].astype(np.float64) / scale - low - 0.5) <= NEAR
        return np.asarray(beside & near)

    def doubt(
        self, name: str, values: "Mapping[str, NDArray[np.generic]]", exact: "InFloat64"
    ) -> "tuple[float, NDArray[np.bool_] | None]":
        """How far float32 is off before it rounds to tensor `name`, in steps, with room for another
        order of its sums; and where that is no number, which has no code. 0 and None where that is
        not known.

        Args:
            exact: what a tensor is in float64, None where nothing computes it.
        """
        real, scale = self._rounded.get(name, ("", 1.0))
        right = exact(real) if real in values else None
        if right is None or right.shape != values[real].shape:
            return 0.0, None
        wide = right.astype(np.float64)
        with np.errstate(invalid="ignore"):  # two infinities are as near as can be
            apart = np.abs(values[real].astype(np.float64) - wide)
        largest = float(apart.max(initial=0.0, where=np.isfinite(apart)))
        return min(_ROOM * largest / scale, NEAR), np.isnan(wide)
