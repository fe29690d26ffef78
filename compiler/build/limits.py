"""Limits of a build that nothing in it would measure: they would hold whatever happens."""

from collections.abc import Mapping
from typing import Protocol

from edgekiln.compiler.build.recipe import Precision
from edgekiln.compiler.pipeline.artifact import Kind
from edgekiln.runtime.errors import ConfigError


class Limited(Protocol):
    """What of a request they depend on."""

    @property
    def model(self) -> str: ...  # as the user names it
    @property
    def precision(self) -> Precision: ...
    @property
    def max_drops(self) -> Mapping[str, float]: ...
    @property
    def min_sqnr_db(self) -> float | None: ...


def check(request: Limited, entered: Kind, data: str, *, labelled: bool) -> None:
    """Refuse a limit that cannot be held.

    Args:
        request: what is to be built.
        entered: what the model is where the build begins.
        data: what scores are measured on; "" for nothing.
        labelled: whether it tells how good a model is.

    Raises:
        ConfigError: nothing measures what is limited.
    """
    given = {"--max-drop": bool(request.max_drops), "--min-sqnr": request.min_sqnr_db is not None}
    asked = [option for option, limited in given.items() if limited]
    if asked and not data:
        raise ConfigError(
            f"{asked[0]}: without samples there is nothing to measure",
            "name some: --data for labelled ones, or --calibrate",
        )
    if request.max_drops and not labelled:
        raise ConfigError(
            f"--max-drop: {data} has no labels, so there is no accuracy to lose",
            "hold the agreement with the float model instead: --min-sqnr 30",
        )
    if request.min_sqnr_db is None:
        return
    if entered == "onnx-int8":
        raise ConfigError(
            f"--min-sqnr: {request.model} is quantized, and there is no float model to be held "
            "against",
            "give the float model that it was made from",
        )
    if labelled and request.precision != "int8":
        raise ConfigError(
            "--min-sqnr: of labelled data it is what quantization keeps, and nothing is quantized",
            "leave it out, or give samples without labels, on which the program is held against "
            "the float model",
        )
