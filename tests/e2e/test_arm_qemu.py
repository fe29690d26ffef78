"""Whole programs for Arm, RISC-V and x86 without AVX, under QEMU: the bits of the program for AVX2,
in each form they come in.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.package import PackageStage
from edgekiln.runtime import bundle, host
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile
from tests import emulated
from tests.compiler import artifacts
from tests.e2e.compiled_models import build, residual_net

REFERENCE = "x86-64-v3"
# QEMU emulates no GPU.
HOSTED = [name for name in profile.names()[1:] if profile.load(name).kind == "hosted"]
ARM = [name for name in HOSTED if profile.load(name).machine in ("aarch64", "armv7l")]
# One of each micro-kernel.
SOME = ["rpi4", "rpi5", "rk3566", "neoverse-v1", "rpi2-armv7", "x86-64-v2", "riscv64-rvv"]
# The other chips with an operating system.
REST = [name for name in HOSTED if name not in SOME]

CALLER = r"""
#include <stdio.h>
#include "model.h"
static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
static _Alignas(MODEL_ALIGN) unsigned char in[MODEL_INPUT_0_BYTES + MODEL_OVERREAD_BYTES];
static _Alignas(MODEL_ALIGN) unsigned char out[MODEL_OUTPUT_0_BYTES + MODEL_OVERREAD_BYTES];
int main(void) {
    if (fread(in, 1, MODEL_INPUT_0_BYTES, stdin) != MODEL_INPUT_0_BYTES) return 2;
    int status = model_run((const void *const[]){in}, (void *const[]){out}, arena);
    fwrite(out, 1, MODEL_OUTPUT_0_BYTES, stdout);
    return status;
}
"""


def load(name: str) -> TargetProfile:
    target = profile.load(name)
    if target.qemu_cpu:
        emulated.require(target)
    else:
        require_features(target)
    return target


def require_features(target: TargetProfile) -> None:
    """Skip the test where this CPU does not run the target's programs."""
    if missing := set(target.features) - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")


def lib(model: Path, target: TargetProfile) -> Path:
    """The lib's files in a directory."""
    home = model.parent / f"{model.stem}-{target.name}"
    bundle.extract(build(model, target), home)
    return home


def reference(model: Path, samples: int = 3) -> tuple[list[bytes], list[bytes]]:
    """Inputs beyond the range of the first layer's codes, and the x86 program's outputs."""
    target = profile.load(REFERENCE)
    require_features(target)
    runner = AotRunner.open(build(model, target))
    rng = np.random.default_rng(11)
    shape = runner.inputs[0].shape
    batches = [rng.normal(scale=10.0**i, size=shape).astype(np.float32) for i in range(samples)]
    return [x.tobytes() for x in batches], [runner.run(x)[0].tobytes() for x in batches]


def run(home: Path, target: TargetProfile, x: bytes) -> bytes:
    """The output of the lib's executable, which finds no C library and next to no environment."""
    (home / "x.bin").write_bytes(x)
    emulator = [*emulated.emulator(target), "-L", "/nonexistent"] if target.qemu_cpu else []
    command = [*emulator, "./runner", "run", "--input", "x.bin", "--output", "y.bin"]
    subprocess.run(command, cwd=home, env={"PATH": os.environ["PATH"]}, check=True)
    return (home / "y.bin").read_bytes()


class Libs:
    """A small model's programs, each built once."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.inputs, self.outputs = reference(model)
        self._homes: dict[str, Path] = {}

    def __call__(self, name: str) -> tuple[TargetProfile, Path]:
        target = load(name)
        if name not in self._homes:
            self._homes[name] = lib(self.model, target)
        return target, self._homes[name]


@pytest.fixture(scope="module")
def libs(tmp_path_factory: pytest.TempPathFactory) -> Libs:
    return Libs(residual_net(tmp_path_factory.mktemp("arm") / "net.onnx"))


def check_bits(model: Path, names: list[str]) -> None:
    inputs, expected = reference(model)
    for name in names:
        target = load(name)
        home = lib(model, target)
        assert [run(home, target, x) for x in inputs] == expected, name


@pytest.mark.parametrize("name", SOME)
def test_one_int8_model_gives_the_same_bits_on_every_chip(name: str, libs: Libs) -> None:
    target, home = libs(name)
    assert [run(home, target, x) for x in libs.inputs] == libs.outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_so_do_the_other_chips(name: str, libs: Libs) -> None:
    target, home = libs(name)
    assert [run(home, target, x) for x in libs.inputs] == libs.outputs


@pytest.mark.slow
@pytest.mark.data
def test_mlperf_tinys_resnet_gives_the_same_bits_on_every_chip(
    shared_data: Path, tmp_path: Path
) -> None:
    check_bits(resnet8(shared_data, tmp_path), ARM)


def resnet8(shared_data: Path, home: Path) -> Path:
    model = home / "resnet8.onnx"
    model.write_bytes((shared_data / "mlperf_tiny" / "ic_resnet8_int8_qdq.onnx").read_bytes())
    return model


@pytest.mark.data
def test_an_executable_for_rpi5_is_below_one_megabyte_and_needs_nothing(
    shared_data: Path, tmp_path: Path
) -> None:
    target = load("rpi5")
    home = lib(resnet8(shared_data, tmp_path), target)
    runner = home / "runner"
    assert runner.stat().st_size < 1_000_000
    headers = subprocess.check_output(["readelf", "-lW", str(runner)], text=True)
    assert "INTERP" not in headers
    assert "DYNAMIC" not in headers
    assert len(run(home, target, bytes(4 * 32 * 32 * 3))) == 4 * 10


@pytest.mark.parametrize(
    ("name", "cpu", "lacks"),
    [
        ("rpi5", "cortex-a72", "atomics, fphp, asimdhp, asimdrdm, asimddp"),
        ("neoverse-v1", "cortex-a76", "jscvt, fcma, asimdfhm, bf16, i8mm"),
        ("rpi2-armv7", "cortex-a9", "vfpv4, idiva, idivt"),
        ("riscv64-rvv", "rv64", "v"),
    ],
)
def test_a_program_for_another_processor_refuses_to_run(
    name: str, cpu: str, lacks: str, libs: Libs
) -> None:
    target, home = libs(name)
    command = [EMULATORS[target.machine], "-cpu", cpu, "./runner", "perf", "--json"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 8
    assert done.stderr == (
        f"error: made for {name}, this CPU lacks {lacks}\n"
        " hint: build it with a --target that fits this machine\n"
    )


@pytest.mark.parametrize("name", ["rpi5", "rpi2-armv7", "riscv64-rvv"])
def test_the_libraries_give_the_executables_bits(name: str, libs: Libs) -> None:
    target, home = libs(name)
    (home / "caller.c").write_text(CALLER)
    for library, flags in (("libmodel.a", ["-static"]), ("libmodel.so", ["-Wl,-rpath,$ORIGIN"])):
        command = [target.toolchain.cc, *flags, "caller.c", library, "-lm", "-o", "caller"]
        subprocess.run(command, cwd=home, check=True)
        sysroot = Path("/usr", target.toolchain.cc.removesuffix("-gcc"))  # where Debian puts it
        command = [*emulated.emulator(target), "-L", str(sysroot), "./caller"]
        assert subprocess.check_output(command, cwd=home, input=libs.inputs[0]) == libs.outputs[0]


@pytest.mark.parametrize("name", ["rpi5", "rpi2-armv7"])
def test_a_bundle_carries_the_output_to_expect_on_the_board(
    name: str, libs: Libs, tmp_path: Path
) -> None:
    context = StageContext(target=profile.load(name), scratch=tmp_path)
    packed = {}
    for target in (name, REFERENCE):
        bundle_file = tmp_path / f"{target}.ekb"
        libs(target)
        lib = artifacts.of(libs.model.with_suffix(f".{target}.lib"))
        PackageStage().run(lib, bundle_file, context)
        packed[target] = bundle.read_tar(bundle_file)
    for kind in ("input", "output"):
        example = bundle.example_name(kind, 0)
        assert packed[name][example] == packed[REFERENCE][example]


@pytest.mark.parametrize("name", SOME)
def test_a_library_needs_at_most_the_c_library(name: str, libs: Libs) -> None:
    _, home = libs(name)
    dynamic = subprocess.check_output(["readelf", "-dW", str(home / "libmodel.so")], text=True)
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "NEEDED" in line}
    assert needed <= {"libm.so.6", "libc.so.6"}
