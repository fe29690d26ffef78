"""Estimates of kernels and of whole programs."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.estimate import in_order
from edgekiln.compiler.estimate.cost import METHOD, peak_macs_per_cycle
from edgekiln.compiler.estimate.functions import functions
from edgekiln.compiler.estimate.program import program
from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.runtime.bundle import read_program, write_lib
from edgekiln.runtime.errors import BundleError, ConfigError, MissingToolError, UnsupportedError
from edgekiln.targets import isa
from edgekiln.targets.profile import TargetProfile
from tests.compiler.estimate.tools import require
from tests.e2e.compiled_models import build, residual_net


def convolution(target: TargetProfile, channels: int, size: int, kernel: int = 1) -> Kernel:
    pad = kernel // 2
    halo = Halo(top=pad, left=pad, bottom=pad, right=pad)
    mk = isa.load(target.isa)
    common: dict[str, Any] = {"n": 1, "c": channels, "dtype": mk.activation, "scale": 0.1}
    return ConvolutionKernel(
        x=Nhwc(h=size, w=size, zero_point=0, halo=halo, **common),
        y=Nhwc(h=size, w=size, zero_point=0, **common),
        weight=np.ones((channels, channels, kernel, kernel), np.int8), pads=(pad, pad),
        bias=np.zeros(channels, np.int32),
        finish=RequantizeFinish(mult=np.full(channels, 1e-3, np.float32)),
    ).build(mk)  # fmt: skip


def test_kernels_are_compared_in_one_go() -> None:
    """Four times the pixels cost four times the cycles; more channels are worth more a cycle."""
    target = require("rpi5")
    kernels = [convolution(target, 32, 8), convolution(target, 32, 16), convolution(target, 64, 16)]
    small, large, wide = functions([(k.func, k.work) for k in kernels], target)
    assert large.cycles == pytest.approx(4 * small.cycles, rel=0.1)
    assert large.instructions == pytest.approx(4 * small.instructions, rel=0.1)
    assert 2 * large.cycles < wide.cycles < 4 * large.cycles
    assert small.unknown == 0


@pytest.mark.parametrize("name", ["rpi5", "neoverse-v1"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_wide_convolutions_reach_most_of_the_peak_whole(name: str, kernel: int) -> None:
    """Not the inner loop alone (tests/targets has it): address arithmetic and epilogue included."""
    target = require(name)
    channels, size = 64, 16
    chosen = convolution(target, channels, size, kernel)
    (cost,) = functions([(chosen.func, chosen.work)], target)
    macs = channels**2 * kernel**2 * size**2
    least = {"rpi5": {1: 0.55, 3: 0.75}, "neoverse-v1": {1: 0.3, 3: 0.5}}[name][kernel]
    assert macs / cost.cycles >= least * peak_macs_per_cycle(target)


def test_a_slower_chip_takes_more_cycles() -> None:
    target = require("rpi5")
    kernel = convolution(target, 32, 8)
    (new,), (old,) = (
        functions([(kernel.func, kernel.work)], target, model=model)
        for model in ("neoverse-n1", "cortex-a55")
    )
    assert old.cycles > new.cycles
    assert old.instructions == new.instructions


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("estimate")
    return build(residual_net(home / "net.onnx"), require("rpi5"))


def test_every_layer_of_a_program_is_estimated(lib: Path) -> None:
    estimate = program(lib)
    assert (estimate.method, estimate.target, estimate.model) == (METHOD, "rpi5", "neoverse-n1")
    assert estimate.peak_macs_per_cycle == 32
    assert all(layer.cycles > 0 for layer in estimate.layers)
    assert {layer.op for layer in estimate.layers} >= {"conv2d", "dense", "quantize"}
    assert estimate.total.cycles == pytest.approx(sum(each.cycles for each in estimate.layers))
    stem = next(layer for layer in estimate.layers if layer.op == "conv2d")
    assert stem.macs == 16 * 16 * 8 * 27
    assert 1 < stem.macs_per_cycle < estimate.peak_macs_per_cycle


def test_an_estimate_is_the_same_every_time(lib: Path) -> None:
    assert program(lib) == program(lib)


@pytest.mark.parametrize(
    ("name", "peak", "method"),
    [
        ("cortex-m0plus", 2 / 3, in_order.METHOD), ("cortex-m7", 2, METHOD),
        ("cortex-m55", 8, METHOD),
    ],
)  # fmt: skip
def test_a_microcontrollers_layers_are_counted_on_its_board(
    name: str, peak: float, method: str, tmp_path: Path
) -> None:
    """The instructions of the kernels alone, exactly: neither start-up nor semihosting."""
    built = build(residual_net(tmp_path / "net.onnx"), require(name))
    estimate = program(built)
    assert (estimate.method, estimate.model) == (method, name)
    assert estimate.peak_macs_per_cycle == pytest.approx(peak)
    for layer in estimate.layers:
        assert layer.macs / (2 * peak) < layer.instructions < 1_000_000
        assert 0 < layer.macs_per_cycle < peak or not layer.macs
    assert estimate.unknown_share < 0.05
    assert program(built) == estimate


def test_an_unknown_model_is_refused(lib: Path) -> None:
    with pytest.raises(ConfigError, match="no pipeline model of 'cortex-z99'") as caught:
        program(lib, model="cortex-z99")
    assert "-mcpu=help" in caught.value.hint


def test_a_program_without_its_library_is_refused(lib: Path, tmp_path: Path) -> None:
    files = {name: text for name, text in read_program(lib)[1].items() if name != "libmodel.a"}
    write_lib(tmp_path / "bare.lib", files)
    with pytest.raises(BundleError, match=r"bare\.lib: has no libmodel\.a"):
        program(tmp_path / "bare.lib")


@pytest.mark.parametrize(
    ("missing", "package"),
    [("qemu-aarch64", "qemu-user"), ("llvm-mca", "llvm-19"), ("gcc", "gcc libc6-dev")],
)
def test_a_missing_tool_is_named_with_its_package(
    missing: str, package: str, lib: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shutil.which

    def which(name: str) -> str | None:
        return None if name.startswith(missing) else found(name)

    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path))  # no counter compiled earlier
    monkeypatch.setattr(shutil, "which", which)
    with pytest.raises(MissingToolError, match=f"^{missing} is not installed") as caught:
        program(lib)
    assert caught.value.hint == f"sudo apt-get install -y {package}"


def test_x86_code_is_counted_only_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekiln.runtime import host

    target = require("x86-64-v3")
    kernel = convolution(target, 16, 4)
    monkeypatch.setattr(host, "cpu_flags", lambda: frozenset({"avx"}))
    with pytest.raises(UnsupportedError, match="counted on the CPU itself"):
        functions([(kernel.func, kernel.work)], target)
