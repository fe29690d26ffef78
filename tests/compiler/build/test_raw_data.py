"""What a program that takes raw data is measured beside."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edgekiln.compiler.build.raw_data import beside
from edgekiln.compiler.pipeline.artifact import Artifact


def artifact(name: str, *stages: str) -> Artifact:
    chain = [{"stage": stage} for stage in stages]
    return cast("Artifact", SimpleNamespace(path=Path(name), chain=chain))


def run_stage(name: str, src: Artifact, target: None) -> Artifact:
    assert target is None
    return artifact(f"{src.path} after {name}")


@pytest.mark.parametrize(
    ("stages", "float_one"),
    [(("quantize",), "float"), (("quantize", "attach"), "float after attach")],
)
def test_the_float_model_is_timed_with_the_steps_of_the_program(
    stages: tuple[str, ...], float_one: str
) -> None:
    both = {"onnx": artifact("float", "export"), "onnx-int8": artifact("int8", *stages)}
    assert beside(both, run_stage) == [Path("int8"), Path(float_one)]


def test_what_is_there_alone_is_timed_as_it_is() -> None:
    alone = artifact("int8", "attach")
    assert beside({"onnx-int8": alone, "module": artifact("net")}, run_stage) == [Path("int8")]
    assert beside({"onnx": artifact("float", "attach")}, run_stage) == [Path("float")]
