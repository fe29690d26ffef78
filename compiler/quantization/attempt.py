"""A step of accuracy control that was tried."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.cost import macs_by_node, onnx_costs
from edgekiln.compiler.quantization.judge import Verdict
from edgekiln.compiler.quantization.ladder_record import Rung, finite_losses
from edgekiln.compiler.quantization.scheme import Scheme
from edgekiln.compiler.quantization.sensitivity import units

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A scheme, its int8 model, and what that is worth."""

    rung: str  # the name of the step
    scheme: Scheme
    quantized: "onnx.ModelProto"
    verdict: Verdict
    float_layers: tuple[str, ...] = ()

    @property
    def wide_layers(self) -> tuple[str, ...]:
        """Those whose activations have 16 bits."""
        return tuple(each.name for each in units(self.scheme) if self.scheme.is_wide(each.name))

    @property
    def whole_layers(self) -> tuple[str, ...]:
        """Those whose weights keep eight bits, where others have four."""
        return tuple(each.name for each in units(self.scheme) if each.name in self.scheme.whole)

    def as_rung(self, *, kept: bool) -> Rung:
        """The step as it is kept."""
        exact = self.float_layers + self.wide_layers
        macs = macs_by_node(self.scheme.model) if exact else {}
        return Rung(
            name=self.rung,
            kept=kept,
            sqnr_db=self.verdict.sqnr_db,
            scores={score.label: score.value for score in self.verdict.scores},
            lost=finite_losses(self.verdict.lost),
            weight_bytes=onnx_costs(self.quantized).weight_bytes,
            float_layers=self.float_layers,
            float_macs=sum(macs[layer] for layer in self.float_layers),
            wide_layers=self.wide_layers,
            wide_macs=sum(macs[layer] for layer in self.wide_layers),
            whole_layers=self.whole_layers,
            least_db=self.verdict.least_db,
            sure_db=self.verdict.sure_db,
        )
