"""Writes the nodes of one end of a graph."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.ends.functions import DOMAIN
from edgekiln.compiler.onnx_model.node_writer import node_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts


@dataclass(kw_only=True)
class RememberedValue:
    """A float32 state: what a call is given, and what it leaves for the next one."""

    given: str
    shape: tuple[int, ...]  # for one sample
    left: str = ""


@dataclass(kw_only=True)
class GraphEnd:
    """Nodes in their order. Their results are named `side`/what, so that reports tell them from
    the network's own.
    """

    facts: "ModelFacts"
    side: str  # "before" or "after"
    quantized: bool  # whether the model's numbers are codes
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    remembered: "list[RememberedValue]" = field(default_factory=list)

    def op(
        self, op: str, *operands: str, what: str = "", result: str = "", **attributes: object
    ) -> str:
        """Append a node; returns the name of what it makes: `result`, or a new one."""
        name = result or self.free(what or op.lower())
        self.nodes.append(node_of(op, operands, name, attributes))
        return name

    def own(
        self, op: str, *operands: str, what: str = "", result: str = "", **attributes: object
    ) -> str:
        """Append a node of ours, see `functions`; as `op`."""
        name = self.op(op, *operands, what=what, result=result, **attributes)
        self.nodes[-1].domain = DOMAIN
        return name

    def constant(self, value: "NDArray[np.generic]", what: str) -> str:
        """The name of a new constant."""
        return self.facts.add(f"{self.side}/{what}", value)

    def free(self, what: str) -> str:
        """A name for a tensor to be made."""
        return self.facts.free(f"{self.side}/{what}")

    def remember(self, what: str, shape: tuple[int, ...]) -> str:
        """The name of a new state, (N, *shape), zero in the first call; `keep` says the next."""
        self.remembered.append(RememberedValue(given=self.free(f"{what}.given"), shape=shape))
        return self.remembered[-1].given

    def keep(self, state: str, value: str) -> None:
        """Let a state be this in the next call."""
        (found,) = (each for each in self.remembered if each.given == state)
        found.left = self.op("Identity", value, what="kept")

    def numbers_of(self, pixels: str) -> str:
        """The floats that bytes stand for, 0 to 255. In a quantized model they are codes of scale
        1, so that what moves them stays on bytes.
        """
        import onnx

        if not self.quantized:
            return self.op("Cast", pixels, what="numbers", to=onnx.TensorProto.FLOAT)
        scale = self.constant(np.array(1, np.float32), "one")
        zero = self.constant(np.array(0, np.uint8), "black")
        return self.op("DequantizeLinear", pixels, scale, zero, what="numbers")
