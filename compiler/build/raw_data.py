"""Programs that take raw data: when a build attaches steps, and what it can measure behind them."""

from collections.abc import Iterator

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.stage_table import ASKED_FOR
from edgekiln.compiler.onnx_model.ends.steps import keep_samples
from edgekiln.compiler.pipeline.artifact import Artifact

TAKES_RAW = "it takes raw data, which the data set is not; the network inside is measured above"


def unasked(recipe: Recipe) -> Iterator[str]:
    """The stages that the recipe does not ask for."""
    yield from (name for name in ASKED_FOR if not any(recipe.options.get(name, {}).values()))


def unscored(artifact: Artifact, labelled: bool) -> str:
    """Why the data set says nothing about an artifact; "": it does.

    Args:
        labelled: without labels a model is held against the float one, which takes no raw data.
    """
    for record in artifact.chain:
        options = record.get("options", {})
        if record["stage"] in ASKED_FOR and not (
            labelled and keep_samples(options["before"], options["after"])
        ):
            return TAKES_RAW
    return ""
