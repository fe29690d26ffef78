"""edgekiln.toml: what is in it, who wins, and what is refused."""

import json
import tomllib
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from edgekiln.compiler.ci import matrix
from edgekiln.compiler.ci.config import Gates, load
from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.schema import SHIPPED, config_schema
from edgekiln.runtime.errors import ConfigError

EXAMPLE = """
[defaults]
targets = ["x86-64-v3", "x86-avx512-vnni"]
seed = 3
gates = { min-accuracy = 0.9, max-latency-us = 50 }
[models.resnet8]
[models.words]
model = "nets/words.onnx"
targets = ["x86-64-v3"]
data = "tones"
options.quantize = { calibration = "mse", samples = 8 }
[[overrides]]
target = "x86-*v3"
gates.max-latency-us = 90
[[overrides]]
model = "w*"
options.quantize.calibration = "entropy"
"""


def jobs(tmp_path: Path, text: str) -> tuple[Job, ...]:
    path = tmp_path / "edgekiln.toml"
    path.write_text(text)
    return matrix.jobs(load(path), tmp_path)


def test_models_times_targets_in_the_files_order(tmp_path: Path) -> None:
    found = jobs(tmp_path, EXAMPLE)
    assert [job.id for job in found] == [
        "resnet8/x86-64-v3/int8",
        "resnet8/x86-avx512-vnni/int8",
        "words/x86-64-v3/int8",
    ]
    assert found[2].bundle == "words-x86-64-v3-int8.ekb"
    assert (found[0].model, found[2].model) == ("resnet8", "nets/words.onnx")


@pytest.mark.parametrize(
    "glob", ['target = "x68-*"', 'model = "resnet"', 'precision = "float32"', 'target = "X86-*"']
)
def test_an_override_of_no_job_is_refused_for_its_gates_would_hold_nothing(
    tmp_path: Path, glob: str
) -> None:
    with pytest.raises(ConfigError, match=r"overrides: number 3 is for .*no such job") as caught:
        jobs(tmp_path, f"{EXAMPLE}[[overrides]]\n{glob}\ngates.max-bytes = 1\n")
    assert "words/x86-64-v3/int8" in caught.value.hint


def test_later_and_narrower_settings_win_key_by_key(tmp_path: Path) -> None:
    v3, vnni, words = jobs(tmp_path, EXAMPLE)
    assert v3.gates == Gates(min_accuracy=0.9, max_latency_us=90)
    assert vnni.gates == Gates(min_accuracy=0.9, max_latency_us=50)
    assert words.recipe.options["quantize"] == {"calibration": "entropy", "samples": 8}
    assert (words.recipe.data, words.recipe.seed) == ("tones", 3)


def test_a_zoo_models_own_recipe_lies_below(tmp_path: Path) -> None:
    text = "[models.resnet8]\noptions.distill.epochs = 1\n"
    (job,) = jobs(tmp_path, text)
    assert job.recipe.options["distill"]["teacher"] == ("resnet20",)
    assert job.recipe.options["distill"]["epochs"] == 1


def test_stages_are_shared_because_pruned_widths_suit_every_target(tmp_path: Path) -> None:
    v3, vnni, words = jobs(tmp_path, EXAMPLE)
    assert v3.recipe == vnni.recipe
    assert v3.recipe.options["prune"]["channel_multiple"] == 16
    assert words.recipe.options["prune"]["channel_multiple"] == 8


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[modles.x]", "edgekiln.toml: unknown key 'modles'", "did you mean models?"),
        ("", "edgekiln.toml: models is missing", "add models = …"),
        ("[models]", "edgekiln.toml: no model", "add a section such as [models.resnet8]"),
        (
            "[models.resnet8]\ngates.max-latency = 5",
            "edgekiln.toml: models.resnet8: gates: unknown key 'max-latency'",
            "did you mean max-latency-us?",
        ),
        (
            "[models.resnet8]\noptions.quantise.samples = 5",
            "options of resnet8: no stage named 'quantise'",
            "did you mean quantize?",
        ),
        (
            "[models.resnet8]\noptions.quantize.sample = 5",
            "options of resnet8: [quantize]: unknown key 'sample'",
            "did you mean samples?",
        ),
        (
            '[models.resnet8]\ntargets = ["x86-64-v4"]',
            "no target named 'x86-64-v4'",
            "did you mean x86-64-v3?",
        ),
        (
            '[models.resnet8]\ntargets = ["x86-64-v3", "x86-64-v3"]',
            "resnet8/x86-64-v3/int8 is there twice",
            "give each target once",
        ),
        (
            '[models.resnet8]\nprecisions = ["int4"]',
            (
                "edgekiln.toml: models.resnet8: precisions[0] must be one of int8, float32, "
                "found 'int4'"
            ),
            "",
        ),
        (
            '[models."../x"]',
            "models.../x: not a name for a file",
            "use letters, digits, dots, - and _",
        ),
        (
            "[defaults]\nbench-seconds = -1",
            "bench-seconds = -1",
            "0 measures none; at most 86400",
        ),
    ],
)
def test_a_mistake_is_named_and_the_next_step_said(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as error:
        jobs(tmp_path, text)
    assert (error.value.message, error.value.hint) == (message, hint)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: .*edgekiln\.toml"):
        load(tmp_path / "edgekiln.toml")


def test_only_takes_globs_of_models_and_of_whole_jobs(tmp_path: Path) -> None:
    found = jobs(tmp_path, EXAMPLE)
    assert matrix.select(found, "resnet*") == found[:2]
    assert matrix.select(found, "*/x86-64-v3/*") == (found[0], found[2])
    with pytest.raises(ConfigError, match="--only x: no such job"):
        matrix.select(found, "x")


def test_github_gets_a_job_a_model(tmp_path: Path) -> None:
    assert matrix.fan_out(jobs(tmp_path, EXAMPLE)) == {
        "include": [
            {"model": "resnet8", "only": "resnet8/*"},
            {"model": "words", "only": "words/*"},
        ]
    }


def test_the_shipped_schema_is_that_of_the_dataclasses() -> None:
    """After a change: edgekiln ci --schema > compiler/documents/schemas/edgekiln.schema.json."""
    room = resources.files("edgekiln.compiler.documents")
    shipped = room.joinpath(SHIPPED).read_text(encoding="utf-8")
    assert json.loads(shipped) == json.loads(json.dumps(config_schema()))


def test_the_schema_accepts_what_is_read_and_refuses_what_is_not() -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(tomllib.loads(EXAMPLE))
    for wrong in ("[modles.x]", "[models.x]\ngates.max-latency = 5", "[models.x]\nseed = 'a'"):
        assert not validator.is_valid(tomllib.loads(wrong))
