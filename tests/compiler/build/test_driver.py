"""The chain: where it is entered, what it shares, when it stops. With small stages of our own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.build import resolve
from edgekiln.compiler.build.chain import Chain
from edgekiln.compiler.build.driver import Request, build
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.result import BuildResult
from edgekiln.compiler.environment import doctor
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import AccuracyError, ConfigError, MissingToolError, StorageError
from edgekiln.targets import profile
from tests.compiler import small_chain
from tests.compiler.small_chain import SMALL


@contextmanager
def quiet(_label: str) -> Iterator[Advance]:
    yield silent


def run(tmp_path: Path, name: str = "net.pt", chain: Chain = SMALL, **changes: Any) -> BuildResult:
    model = tmp_path / name
    model.write_text("start 0.5")
    request = Request(
        model=str(model),
        targets=(profile.load("x86-64-v3"), profile.load("x86-avx512-vnni")),
        recipe=Recipe(data="digits"),
        out=tmp_path / "dist",
        trial_s=0,
    )
    return build(replace(request, **changes), Store(tmp_path / "store"), quiet, chain)


def rows(result: BuildResult) -> list[str]:
    return [f"{step.stage} {step.target}".strip() for step in result.steps]


def bundle_text(result: BuildResult, index: int = 0) -> str:
    return Path(result.targets[index].bundle).read_text()


def test_a_module_goes_through_every_stage_and_into_a_bundle_a_target(tmp_path: Path) -> None:
    result = run(tmp_path)
    shared = ["input", "distill", "prune", "export", "quantize"]
    assert rows(result) == [*shared, "compile x86-64-v3", "compile x86-avx512-vnni"]
    assert [Path(target.bundle).name for target in result.targets] == [
        "net-x86-64-v3.ekb",
        "net-x86-avx512-vnni.ekb",
    ]
    assert "compile x86-avx512-vnni" in bundle_text(result, 1)
    chain, steps = bundle_text(result).splitlines()[-2:]
    assert chain == "['input', 'distill', 'prune', 'export', 'quantize', 'compile']"
    assert steps == str([*shared, "compile"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net.onnx", ["input", "quantize", "compile x86-64-v3", "compile x86-avx512-vnni"]),
        ("net.int8.onnx", ["input", "compile x86-64-v3", "compile x86-avx512-vnni"]),
    ],
)
def test_the_chain_is_entered_where_the_input_stands(
    tmp_path: Path, name: str, expected: list[str]
) -> None:
    assert rows(run(tmp_path, name)) == expected


@pytest.mark.parametrize(
    ("name", "precision", "before"),
    [
        ("net.pt", "int8", ["input", "distill", "prune", "export", "tidy", "quantize"]),
        ("net.onnx", "int8", ["input", "tidy", "quantize"]),
        ("net.onnx", "float32", ["input", "tidy"]),
        ("net.int8.onnx", "int8", ["input"]),
    ],
)
def test_a_new_stage_runs_wherever_the_input_is_of_its_kind(
    tmp_path: Path, name: str, precision: str, before: list[str]
) -> None:
    stages = [*SMALL.stages.items()]
    stages.insert([*SMALL.stages].index("quantize"), ("tidy", f"{small_chain.__name__}:Tidy"))
    found = rows(run(tmp_path, name, replace(SMALL, stages=dict(stages)), precision=precision))
    assert [row for row in found if not row.startswith("compile")] == before


def test_a_float_build_leaves_out_the_quantization_and_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, "net.onnx", precision="float32")
    assert rows(result) == ["input", "compile x86-64-v3", "compile x86-avx512-vnni"]
    assert result.precision == "float32"
    assert Path(result.targets[0].bundle).name == "net-x86-64-v3-float32.ekb"


def test_a_quantized_model_gives_no_float_program(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"int8\.onnx is quantized: it cannot become a float32"):
        run(tmp_path, "net.int8.onnx", precision="float32")


def test_what_a_module_has_behind_it_is_not_done_again(tmp_path: Path) -> None:
    trained = replace(SMALL, done_stages=lambda _artifact: ("distill",))
    assert rows(run(tmp_path, chain=trained))[:3] == ["input", "prune", "export"]


def test_there_is_nothing_left_to_build_from_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"net\.ekb is a bundle .*nothing left to build"):
        run(tmp_path, "net.ekb")


def test_skipped_stages_are_left_out(tmp_path: Path) -> None:
    result = run(tmp_path, recipe=Recipe(data="digits", skip=("distill", "prune")))
    assert rows(result)[:2] == ["input", "export"]


def test_pruned_widths_suit_every_target(tmp_path: Path) -> None:
    assert "prune×16" in bundle_text(run(tmp_path))
    avx2 = run(tmp_path, targets=(profile.load("x86-64-v3"),))
    assert "prune×8" in bundle_text(avx2)
    chosen = Recipe(data="digits", options={"prune": {"channel_multiple": 4}})
    assert "prune×4" in bundle_text(run(tmp_path, recipe=chosen))


def test_the_second_build_finds_everything(tmp_path: Path) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert all(step.cached for step in second.steps)
    assert first.targets == second.targets


def test_a_changed_option_rebuilds_only_what_follows(tmp_path: Path) -> None:
    run(tmp_path)
    changed = Recipe(data="digits", options={"export": {"accuracy": 0.8}})
    steps = {step.stage: step.cached for step in run(tmp_path, recipe=changed).steps}
    assert steps == {
        "input": True,
        "distill": True,
        "prune": True,
        "export": False,
        "quantize": False,
        "compile": False,
    }


def test_a_stage_that_gives_the_same_bytes_again_changes_nothing_after_it(tmp_path: Path) -> None:
    run(tmp_path)
    changed = Recipe(data="digits", options={"export": {"seed": 1}})
    steps = {step.stage: step.cached for step in run(tmp_path, recipe=changed).steps}
    assert (steps["export"], steps["quantize"], steps["compile"]) == (False, True, True)


def test_every_score_has_its_samples(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert [step.score for step in result.steps][:2] == [
        Score(value=0.5, metric="accuracy", unit="%", n=400, of=400),
        Score(value=0.9, metric="accuracy", unit="%", n=400, of=400),
    ]
    assert (result.steps[0].parameters, result.steps[0].macs) == (7, 1000)


def test_without_data_nothing_is_scored_and_the_table_says_why(tmp_path: Path) -> None:
    unknown = replace(SMALL, data_of=lambda _artifact: "")
    result = run(tmp_path, "net.int8.onnx", unknown, recipe=Recipe())
    assert {step.unscored for step in result.steps} == {
        "no data: --data measures accuracy, --calibrate the agreement with the float model"
    }


def test_a_program_for_another_machine_is_built_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "foreign", lambda target: f"this CPU lacks {target.features[-1]}")
    result = run(tmp_path, chain=replace(SMALL, evaluate="tests.compiler.small_chain:NotEmulated"))
    assert result.steps[0].score is not None
    assert result.steps[-1].unscored == "this CPU lacks avx512_vnni; not emulated: no QEMU"
    assert result.targets[1].unmeasured == "this CPU lacks avx512_vnni"


def test_a_stage_that_loses_too_much_stops_the_build_by_name(tmp_path: Path) -> None:
    lossy = Recipe(data="digits", options={"quantize": {"accuracy": 0.87}})
    with pytest.raises(AccuracyError) as error:
        run(tmp_path, recipe=lossy, max_drops={"": 2.0})
    assert error.value.message == (
        "quantize lost 3.00 points of accuracy: 90.00% after export, 87.00% now "
        "(n = 400; --max-drop 2)"
    )
    assert error.value.exit_code == 6
    assert not (tmp_path / "dist").exists()
    assert run(tmp_path, recipe=lossy, max_drops={"": 3.01}).targets


def test_a_missing_compiler_is_said_before_anything_runs(tmp_path: Path) -> None:
    base = profile.load("x86-64-v3")
    tools = replace(base.toolchain, cc="no-such-gcc", packages=("gcc-no-such",))
    with pytest.raises(MissingToolError) as error:
        run(tmp_path, targets=(replace(base, toolchain=tools),))
    assert error.value.message == "target x86-64-v3: no-such-gcc is not installed"
    assert error.value.hint == "sudo apt-get install -y gcc-no-such"
    assert not (tmp_path / "store").exists()


def test_an_output_directory_that_cannot_be_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"net\.pt cannot be written"):
        run(tmp_path, out=tmp_path / "net.pt")
    assert not (tmp_path / "store").exists()


def test_a_target_given_twice_is_refused(tmp_path: Path) -> None:
    target = profile.load("x86-64-v3")
    with pytest.raises(ConfigError, match="target x86-64-v3 is given twice"):
        run(tmp_path, targets=(target, target))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("resnet8", "resnet8"),
        ("mobilenetv1?width=0.25", "mobilenetv1"),
        ("timm.models:resnet18", "resnet18"),
        ("/data/My Net (v2).onnx", "My-Net-v2"),
    ],
)
def test_the_bundle_is_called_after_the_model(model: str, name: str) -> None:
    assert resolve.display_name(model) == name


@pytest.mark.parametrize(
    ("option", "given"),
    [("--state", {"state": ("h=hn",)}), ("--constant", {"constant": ("sr=1",)}),
     ("--stream", {"stream": "x=2:1"})],
)  # fmt: skip
def test_what_is_said_of_an_onnx_models_ends_is_refused_for_others(
    tmp_path: Path, option: str, given: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve.start(Store(tmp_path / "store"), "nets:tiny", Recipe(**given))
    assert caught.value.message == f"{option}: nets:tiny is no ONNX model"


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("net.pt", True),
        ("folder/net.onnx", True),
        ("what?.pt", True),
        ("resnet8?teacher=net.pt", False),
        ("nets:tiny", False),
        ("nets:tiny?weights=folder/net.pt", False),
        ("nets:tiny?weights=net.onnx", False),
    ],
)
def test_an_argument_that_ends_as_a_file_does_makes_no_file_of_a_factory(
    model: str, file: bool
) -> None:
    assert resolve.is_file(model) is file
