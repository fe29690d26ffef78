"""Operating points: several networks in one program, each as if it were alone."""

import json
import os
import re
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.devices.emulated import predict
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.package import PackageStage
from edgekiln.runtime import load
from edgekiln.runtime.bundle import IMAGE, Bundle, ProgramFile, read_tar, write_lib
from edgekiln.runtime.device.example import check_example as check_on
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.errors import BundleError, ConfigError, InputError, MismatchError
from edgekiln.runtime.example_check import check_example
from edgekiln.runtime.program import LoadedProgram
from edgekiln.runtime.runner import AotRunner
from edgekiln.runtime.text import bundle_lines
from edgekiln.targets import profile
from tests import emulated
from tests.compiler import artifacts
from tests.compiler.nested_models import CLASSES, NestedNet
from tests.compiler.nested_models import IMAGE as SIZE
from tests.compiler.qdq_models import QdqModel

HOST = "x86-64-v3"
WIDTHS = (32, 16)
NAMES = ("full", "w16")
COMPACT = {"compact": True}


class Family:
    """A network at two widths, of 16 bits or of 8: models, the program of both, and each alone."""

    def __init__(self, home: Path, target: str, kernel: int = 3, words: Any = (False,) * 2):
        self.home, self.target = home, profile.load(target)
        net, both = NestedNet(max(WIDTHS), kernel=kernel), zip(WIDTHS, words, strict=True)
        self.models = [net.save(home / f"w{width}.onnx", width, wide) for width, wide in both]
        self.alone = [self.build(model, model.stem) for model in self.models]
        self.program = self.build(self.models[0], "points", point=(f"w16={self.models[1]}",))

    def build(self, model: Path, name: str, **options: Any) -> Path:
        """A program, its kernels compiled once for all of the family."""
        out = self.home / f"{name}.lib"
        context = StageContext(target=self.target, scratch=self.home, objects=self.home / "objects")
        CompileStage(compact=True, **options).run(artifacts.of(model), out, context)
        return out


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tmp_path_factory.mktemp("points"), HOST)


@pytest.fixture(scope="module")
def bundle(family: Family) -> Path:
    path = family.program.with_suffix(".ekb")
    context = StageContext(target=family.target, scratch=path.parent)
    PackageStage().run(replace(artifacts.of(family.program), kind="lib"), path, context)
    return path


def images(count: int = 3) -> np.ndarray:
    draw = np.random.default_rng(1)
    return draw.uniform(-2.5, 2.5, (count, 1, 3, SIZE, SIZE)).astype(np.float32)


def answers(net: LoadedProgram) -> list[bytes]:
    return [np.asarray(net(image)).tobytes() for image in images()]


def test_every_point_gives_the_bits_of_its_model_compiled_alone(family: Family) -> None:
    net = load(family.program)
    assert net.points == NAMES
    seen = []
    for number, (name, alone) in enumerate(zip(NAMES, family.alone, strict=True)):
        net.set_point(number)
        seen.append(answers(net))
        assert seen[-1] == answers(load(alone))
        net.set_point(name)
        assert answers(net) == seen[-1]
    assert len({each[0] for each in seen}) == len(NAMES)


def test_a_point_may_change_between_any_two_calls(family: Family) -> None:
    net, rest = load(family.program), [load(alone) for alone in family.alone]
    image = images(1)[0]
    expected = [np.asarray(each(image)).tobytes() for each in rest]
    chosen = np.random.default_rng(2).integers(0, len(NAMES), 40).tolist()

    def answer(point: int) -> bytes:
        net.set_point(point)
        return np.asarray(net(image)).tobytes()

    assert [answer(point) for point in chosen] == [expected[point] for point in chosen]


def test_the_first_point_runs_until_another_is_chosen(family: Family) -> None:
    assert answers(load(family.program)) == answers(load(family.alone[0]))


def test_streams_of_one_program_choose_for_themselves(family: Family) -> None:
    net = load(family.program)
    other = net.stream()
    other.set_point(1)
    assert answers(net) == answers(load(family.alone[0]))
    assert answers(other) == answers(load(family.alone[1]))


# Python 3.12 and later warn of exactly what is tested here.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_a_point_is_chosen_computes_the_point_that_it_names(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load(family.program)
    assert isinstance(net.runner, AotRunner)
    stored, go_on = threading.Event(), threading.Event()
    store = net.runner._library.set_point

    def store_and_wait(arena: Any, point: int) -> None:
        store(arena, point)
        if threading.current_thread() is chooser:
            stored.set()
            go_on.wait()

    monkeypatch.setattr(net.runner._library, "set_point", store_and_wait)
    chooser = threading.Thread(target=net.set_point, args=("w16",))
    chooser.start()
    stored.wait()
    child = os.fork()
    if child == 0:
        right = answers(net) == answers(load(family.alone[1]))
        os._exit(0 if right and net.runner.spec.point == "w16" else 1)
    go_on.set()
    chooser.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_points_share_the_arena_and_the_weights(family: Family) -> None:
    spec = ProgramFile.open(family.program).spec
    alone = [ProgramFile.open(each).spec for each in family.alone]
    assert spec.arena_bytes == max(each.arena_bytes for each in alone)
    # What is not shared: biases, factors and quantizations of their own.
    own = sum(each.weights_bytes for each in alone)
    assert spec.weights_bytes < 1.2 * alone[0].weights_bytes < own


def test_an_unknown_point_is_refused_by_name(family: Family) -> None:
    with pytest.raises(ConfigError, match="no point 'w12'") as error:
        load(family.program).set_point("w12")
    assert error.value.hint == "its points are: 0 full, 1 w16"
    with pytest.raises(ConfigError, match="no point '1'"):
        load(family.alone[0]).set_point(1)
    for wrong in (-1, 2, "9" * 5000):
        with pytest.raises(ConfigError, match="no point"):
            load(family.program).set_point(wrong)
    load(family.alone[0]).set_point(0)


def test_every_point_is_in_the_bundles_example_and_checked(bundle: Path) -> None:
    assert check_example(bundle) == ["logits"]
    with LocalDevice() as device:
        assert check_on(bundle, device) == ("logits",)
    examples = [name for name in Bundle.open(bundle).files if name.endswith("output_0.bin")]
    assert len(examples) == len(NAMES)
    assert "  points    0 full, 1 w16" in bundle_lines(Bundle.open(bundle))


def test_a_damaged_example_of_a_further_point_is_found(bundle: Path, tmp_path: Path) -> None:
    files = read_tar(bundle)
    broken = bytearray(files["example/point_1/output_0.bin"])
    broken[0] ^= 1
    content = {name: files[name] for name in ("libmodel.so", "runner", "program.json")}
    content |= {name: raw for name, raw in files.items() if name.startswith("example/")}
    path = tmp_path / "broken.lib"
    write_lib(path, {**content, "example/point_1/output_0.bin": bytes(broken)})
    with pytest.raises(MismatchError, match="at point w16 in 1 of"):
        check_example(path)
    with LocalDevice() as device, pytest.raises(MismatchError):
        check_on(path, device)


def test_the_runner_takes_a_point_by_number_or_name(family: Family, tmp_path: Path) -> None:
    runner = tmp_path / "runner"
    runner.write_bytes(ProgramFile.open(family.program).files["runner"])
    runner.chmod(0o755)
    (tmp_path / "x.bin").write_bytes(images(1)[0].tobytes())
    expected = np.asarray(load(family.alone[1])(images(1)[0])).tobytes()
    for point in ("1", "w16"):
        for threads in ("1", "2"):
            command: list[str | Path] = [
                runner, "run", "--input", "x.bin", "--output", "y.bin", "--point", point,
                "--threads", threads,
            ]  # fmt: skip
            subprocess.run(command, cwd=tmp_path, check=True)
            assert (tmp_path / "y.bin").read_bytes() == expected
    for point in ("2", "-1", "", "w"):
        command = [runner, "run", "--input", "x.bin", "--output", "y.bin", "--point", point]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert f"no point '{point}'" in done.stderr


def test_the_example_of_the_manual_compiles_and_runs_as_printed(
    family: Family, tmp_path: Path
) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "adaptive.md"
    (code,) = re.findall(r"```c\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "example.c").write_text(code)
    files = ProgramFile.open(family.program).files
    for name in ("model.h", "governor.h", "libmodel.a"):
        (tmp_path / name).write_bytes(files[name])
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    command = ["gcc", *flags, "example.c", "libmodel.a", "-lm", "-o", "adaptive"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./adaptive"], cwd=tmp_path, capture_output=True, text=True, check=True)
    chosen = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    # Eight choices until the dearer point, which would miss the later deadlines. In between it is
    # the dearer one, if the machine is not busy.
    assert len(chosen) == 20
    assert chosen[:7] + chosen[12:] == ["w16"] * 15


def test_the_description_must_be_the_librarys(family: Family, tmp_path: Path) -> None:
    files = dict(ProgramFile.open(family.program).files)
    spec = json.loads(files["program.json"])
    spec["further_points"][0]["layers"].pop()
    files["program.json"] = json.dumps(spec).encode()
    path = tmp_path / "forged.lib"
    write_lib(path, files)
    with pytest.raises(BundleError, match=r"items of its steps|first steps of its points"):
        load(path)


def test_models_that_take_something_else_are_no_points(family: Family, tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, SIZE + 1, SIZE), scale=0.02, zero=-5)
    m.op("Relu", x, out="logits")
    other = m.save(tmp_path / "other.onnx", "logits")
    with pytest.raises(InputError, match="point other: its inputs are x float32") as error:
        family.build(family.models[0], "refused", point=(f"other={other}",))
    assert "take and give the same tensors" in error.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("half",), "neither a name nor a file"),
        (("=half.onnx",), "neither a name nor a file"),
        (("a=x.onnx", "a=y.onnx"), "a point 'a' already"),
        (("full=x.onnx",), "a point 'full' already"),
        (("1=x.onnx",), "'1' is no name for a point"),
        (("+0=x.onnx",), "is no name for a point"),
        (("a\nb=x.onnx",), "is no name for a point"),
    ],
)
def test_points_have_names_of_their_own(
    family: Family, given: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        family.build(family.models[0], "refused", point=given)


def test_the_command_says_which_file_is_missing(family: Family, tmp_path: Path) -> None:
    command = [
        "compile", str(family.models[0]), "--target", HOST, "-o", str(tmp_path / "x.lib"),
        "--point", "half=nowhere.onnx",
    ]  # fmt: skip
    result = CliRunner().invoke(edgekiln, command, env={"EDGEKILN_STORE": str(tmp_path / "store")})
    assert result.exit_code == 3
    assert "point half: cannot read nowhere.onnx" in result.output
    assert not (tmp_path / "x.lib").exists()


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_a_chip_runs_every_point_in_the_memory_of_the_largest(tmp_path: Path, target: str) -> None:
    emulated.require(profile.load(target))
    family = Family(tmp_path, target, kernel=1)
    lib = ProgramFile.open(family.program)
    given = np.random.default_rng(1).integers(-128, 128, (2, 3, SIZE, SIZE)).astype(np.int8)
    for number, alone in enumerate(map(ProgramFile.open, family.alone)):
        (ours,) = predict(lib.spec, lib.files[IMAGE], [given], number)
        (theirs,) = predict(alone.spec, alone.files[IMAGE], [given])
        assert ours.shape == (2, CLASSES)
        np.testing.assert_array_equal(ours, theirs)
        assert alone.spec.arena_bytes <= lib.spec.arena_bytes
    assert lib.spec.arena_bytes == ProgramFile.open(family.alone[0]).spec.arena_bytes
    assert lib.spec.footprint is not None
    assert lib.spec.footprint.variables_bytes == 0
