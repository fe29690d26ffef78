"""Programs that take raw data: when a build attaches steps, and what it can measure behind them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.stage_table import ASKED_FOR
from edgekiln.compiler.onnx_model.ends.steps import keep_samples
from edgekiln.compiler.pipeline.artifact import Artifact

TAKES_RAW = "it takes raw data, which the data set is not; the network inside is measured above"


_BESIDE = ("onnx-int8", "onnx")  # what ONNX Runtime is measured on


def beside(
    artifacts: Mapping[str, Artifact], run_stage: Callable[[str, Artifact, None], Artifact]
) -> list[Path]:
    """The models that ONNX Runtime is measured on: the int8 one, and the float one with the steps
    that were attached to it, so that all do the same work.

    Args:
        artifacts: of a build, by kind.
        run_stage: makes a float model what a stage of the build makes of it.
    """
    found = {kind: artifacts[kind] for kind in _BESIDE if kind in artifacts}
    if len(found) == len(_BESIDE):
        for record in found["onnx-int8"].chain:
            if record["stage"] in ASKED_FOR:
                found["onnx"] = run_stage(record["stage"], found["onnx"], None)
    return [artifact.path for artifact in found.values()]


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
