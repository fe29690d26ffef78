"""Limits of a build that nothing in it would measure: they would hold whatever happens."""

from dataclasses import dataclass

from edgekiln.compiler.build.recipe import Precision
from edgekiln.compiler.pipeline.artifact import Kind
from edgekiln.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AskedLimits:
    """What a build is held to, and what it has to measure that by."""

    model: str  # as the user names it
    entered: Kind  # what the model is where the build begins
    precision: Precision
    data: str  # what scores are measured on; "" for nothing
    labelled: bool  # whether it tells how good a model is
    drop: bool  # --max-drop
    signal: bool  # --min-sqnr

    def check(self) -> None:
        """Raises ConfigError: nothing measures what is limited."""
        if (self.drop or self.signal) and not self.data:
            raise ConfigError(
                f"{'--max-drop' if self.drop else '--min-sqnr'}: without samples there is nothing "
                "to measure",
                "name some: --data for labelled ones, or --calibrate",
            )
        if self.drop and not self.labelled:
            raise ConfigError(
                f"--max-drop: {self.data} has no labels, so there is no accuracy to lose",
                "hold the agreement with the float model instead: --min-sqnr 30",
            )
        if self.signal and self.entered == "onnx-int8":
            raise ConfigError(
                f"--min-sqnr: {self.model} is quantized, and there is no float model to be held "
                "against",
                "give the float model that it was made from",
            )
        if self.signal and self.labelled and self.precision != "int8":
            raise ConfigError(
                "--min-sqnr: of labelled data it is what quantization keeps, and nothing is "
                "quantized",
                "leave it out, or give samples without labels, on which the program is held "
                "against the float model",
            )
