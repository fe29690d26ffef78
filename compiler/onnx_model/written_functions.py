"""GELU, hard-swish and hard-sigmoid in parts: functions of one value."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.parts import ARITHMETIC, Reals, WrittenOut, computed, ending_in
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

# Without one of these a function is none of those that are looked for.
_BENT = frozenset(("Clip", "Erf", "HardSigmoid", "Max", "Min", "Relu", "Tanh"))
_KINDS = frozenset(ARITHMETIC) | _BENT
# Close to each other where the functions bend, and far out: a bound may lie between.
_FAR = np.geomspace(9.5, 1e4, 64)
_POINTS = np.concatenate([-_FAR[::-1], np.linspace(-9.0, 9.0, 361), _FAR])
# Between the constants that exporters write, in seven digits and more, and in float32; the two
# forms of GELU differ by up to 5e-4.
_CLOSE = 5e-6


def of_one_value(facts: ModelFacts, end: "onnx.NodeProto") -> WrittenOut | None:
    """The operator that gives the numbers of a node and of what stands in front of it, if any."""
    for parts in ending_in(facts, end, _KINDS):
        numbers = all(
            facts.constants[name].size == 1
            for node in parts.nodes
            for name in node.input
            if name in facts.constants
        )
        # One node that is bent is an operator already.
        if not numbers or len(parts.nodes) == 1 or not _BENT & parts.kinds:
            continue
        rank = len(facts.shapes.get(parts.x, ()))
        points = _POINTS.astype(np.float32).reshape(*[1] * (rank - 1), -1)
        function = computed(facts, parts, points.shape)
        given = None if function is None else function(points)
        for form in _FORMS:
            # Constants of more axes than the operand give the result these axes.
            if given is None or given.shape != points.shape:
                continue
            error = np.abs(given.reshape(-1) - form.values)
            if np.all(error <= _CLOSE * np.maximum(1.0, np.abs(_POINTS))):
                return WrittenOut(
                    parts=parts, op_type=form.op_type, opset=form.opset, attributes=form.attributes
                )
    return None


@dataclass(frozen=True, kw_only=True)
class _KnownFunction:
    """A function of one value that ONNX has an operator for, at `_POINTS`."""

    op_type: str
    opset: int
    attributes: Mapping[str, float | str]
    values: Reals


def _hard_sigmoid(alpha: float) -> Reals:
    values: Reals = np.clip(alpha * _POINTS + 0.5, 0.0, 1.0)
    return values


_erf: Callable[[Reals], Reals] = np.vectorize(math.erf, otypes=[np.float64])
_FORMS = (
    # Hendrycks and Gimpel, Gaussian Error Linear Units, 2016 (arXiv:1606.08415), section 2.
    _KnownFunction(
        op_type="Gelu", opset=20, attributes={"approximate": "none"},
        values=0.5 * _POINTS * (1 + _erf(_POINTS / math.sqrt(2))),
    ),
    _KnownFunction(
        op_type="Gelu", opset=20, attributes={"approximate": "tanh"},
        values=0.5 * _POINTS
        * (1 + np.tanh(math.sqrt(2 / math.pi) * (_POINTS + 0.044715 * _POINTS**3))),
    ),
    # Howard et al., Searching for MobileNetV3, 2019 (arXiv:1905.02244), section 5.2.
    _KnownFunction(
        op_type="HardSwish", opset=14, attributes={}, values=_POINTS * _hard_sigmoid(1 / 6)
    ),
    # Of the same paper, and of Keras.
    *(
        _KnownFunction(
            op_type="HardSigmoid", opset=6, attributes={"alpha": alpha, "beta": 0.5},
            values=_hard_sigmoid(alpha),
        )
        for alpha in (1 / 6, 0.2)
    ),
)  # fmt: skip
