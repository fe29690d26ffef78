"""A network on a GPU: the bits of a CPU's program, by the driver that ships; and what may fail."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgekiln.benchmarks.sanitizer import program as sanitizer
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.devices.emulated import predict
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.runtime.errors import BundleError, UnsupportedError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests import opencl
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build, check

STUB = Path(__file__).parents[1] / "opencl_stub.c"


@pytest.fixture(scope="module")
def program(net: Path) -> Path:
    return build(net, profile.load(opencl.TARGET))


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a loader of OpenCL's that has one device, which fails when it is told to."""
    home = tmp_path_factory.mktemp("stub")
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", home / "libOpenCL.so.1", STUB], check=True)
    return home


def test_every_layer_has_the_codes_of_onnx_runtime_and_the_result_the_bits_of_a_cpu(
    net: Path, program: Path
) -> None:
    opencl.require()
    result = check(net, profile.load(opencl.TARGET), samples=2)
    assert len(result.integer_layers) == 6
    assert sum(gap.differing for gap in result.integer_layers) == 0
    on_gpu, on_cpu = (
        AotRunner.open(each) for each in (program, build(net, profile.load("x86-64-v3")))
    )
    (batch,) = batches_for(on_gpu.spec, net, data="", seed=3, samples=1)
    np.testing.assert_array_equal(on_gpu.run(*batch.values())[0], on_cpu.run(*batch.values())[0])


def test_each_buffer_of_a_network_is_all_that_its_kernels_touch(net: Path, program: Path) -> None:
    opencl.require()
    spec = AotRunner.open(program).spec
    (batch,) = batches_for(spec, net, data="", seed=3, samples=1)
    arrays = list(batch.values())
    found = sanitizer.check(program, net, profile.load(opencl.TARGET), arrays)
    assert [array.shape for array in found] == [tensor.shape for tensor in spec.outputs]


def test_a_step_reads_what_lies_in_the_callers_memory(net: Path, program: Path) -> None:
    """So layers are checked one by one, each on ONNX Runtime's results of those before it."""
    opencl.require()
    runners = [AotRunner.open(each) for each in (program, build(net, profile.load("x86-64-v3")))]
    (batch,) = batches_for(runners[0].spec, net, data="", seed=3, samples=1)
    found = []
    for runner in runners:
        runner.begin(*batch.values())
        runner.step(0)
        runner.step(1)
        before, layer = runner.spec.layers[1:3]
        codes = runner.layer_output(before)
        assert codes is not None
        lowest = -128 if codes.dtype == np.int8 else 0  # or uint8, as the chip multiplies
        runner.place(before, np.full_like(codes, 77 + lowest))
        runner.step(2)
        result = runner.layer_output(layer)
        assert result is not None
        found.append(result.astype(np.int32) - lowest)
    np.testing.assert_array_equal(found[0], found[1])


def test_the_library_needs_no_opencl_to_be_linked_and_a_launch_is_a_step(
    program: Path, unpacked: Path
) -> None:
    needed = subprocess.run(
        ["readelf", "-d", unpacked / "libmodel.so"], capture_output=True, text=True, check=True
    )
    assert "OpenCL" not in needed.stdout
    spec = AotRunner.open(program).spec
    assert [layer.work for layer in spec.layers] == [0] * len(spec.layers)


def test_a_gpu_of_another_machine_is_not_emulated(program: Path) -> None:
    spec = replace(AotRunner.open(program).spec, target="mali-g610", machine="aarch64")
    with pytest.raises(BundleError, match="made for mali-g610, and QEMU emulates no GPU"):
        predict(spec, b"", [])


def run(unpacked: Path, *, libraries: Path, stub: str = "") -> "subprocess.CompletedProcess[str]":
    """The program's own runner, from an empty directory, with a loader of ours."""
    empty = unpacked / "empty"
    empty.mkdir(exist_ok=True)
    command = [str(unpacked / "runner"), "perf", "--min-seconds", "0", "--warmup-seconds", "0"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "STUB": stub}
    return subprocess.run(
        [*command, "--trials", "1"], cwd=empty, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("none", 13, "error: OpenCL has no device here\n"),
        ("build", 8, "error: Stub 1 cannot build the kernels (OpenCL error -11): line 1: no such "),
        ("memory", 13, "error: Stub 1 has not enough memory: a buffer\n"),
        ("run", 13, "error: Stub 1 failed: quantize_"),
    ],
)
def test_whatever_fails_is_one_error_with_a_code(
    unpacked: Path, stub: Path, how: str, code: int, message: str
) -> None:
    done = run(unpacked, libraries=stub, stub=how)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message)
    assert " hint: " in done.stderr


def test_without_a_driver_it_says_what_to_install(unpacked: Path, tmp_path: Path) -> None:
    for name in ("libOpenCL.so.1", "libOpenCL.so"):
        (tmp_path / name).write_bytes(b"no library")
    done = run(unpacked, libraries=tmp_path)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith(
        "error: libOpenCL.so.1 is not installed\n hint: install the GPU's"
    )


def test_python_says_the_same(program: Path, stub: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgekiln.runtime import load; import numpy\n"
        "from edgekiln.runtime.errors import EdgeKilnError\n"
        "net = load(sys.argv[1])\n"
        "try: net(numpy.zeros(net.inputs[0].shape, net.inputs[0].dtype))\n"
        "except EdgeKilnError as error: print(error.exit_code, error.message)\n"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stub), "STUB": "none"}
    done = subprocess.run(
        [sys.executable, "-c", code, program], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "13 OpenCL has no device here\n"


def test_an_operator_without_a_kernel_is_refused_by_name(tmp_path: Path) -> None:
    m = QdqModel(seed=6)
    x = m.q(m.input("x", 8, 16), scale=0.02)
    y = m.q(m.op("Hardmax", x, out="e"), 0.1, 0)
    path = m.save(tmp_path / "net.onnx", y)
    with pytest.raises(UnsupportedError, match="no kernel for GPUs computes Hardmax"):
        build(path, profile.load(opencl.TARGET))


def test_an_estimate_counts_launches_and_promises_no_time(program: Path) -> None:
    done = CliRunner().invoke(edgekiln, ["estimate", str(program)])
    assert done.exit_code == 0, done.output
    launches = len(AotRunner.open(program).spec.layers)
    assert f"{launches} launches a run" in done.output
    assert "counted, nothing is measured or modelled" in done.output
    assert "a bound" in done.output
