"""A network for an NVIDIA GPU: the bits of a CPU's program by the driver that ships, on a stub of
NVIDIA's that executes the kernels' own text; what may fail; and the machine code, looked at.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.aot import nvrtc
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.runtime.bundle import Bundle, read_program
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests import cuda
from tests.compiler.lowering.programs import parsed
from tests.compiler.recurrent_models import int8_layer, of_onnxruntime
from tests.e2e.compiled_models import build

pytestmark = pytest.mark.skipif(
    bool(nvrtc.problem("sm_86")), reason="no NVIDIA compiler here: pip install 'edgekiln[cuda]'"
)

# Of a program in a process with the stub: two runs, each by all steps at once and one by one.
PREDICT = """\
import sys, numpy as np
from pathlib import Path
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.runner import AotRunner
runner = AotRunner.open(Path(sys.argv[1]))
feed = np.load(sys.argv[2])
try:
    whole = [runner.run(feed[name])[0].copy() for name in feed for _ in range(2)]
    runner.begin(*[feed[name] for name in list(feed)[:1]])
    for step in range(len(runner.spec.layers)):
        runner.step(step)
except EdgeKilnError as error:
    print(error.exit_code, error.message)
    raise SystemExit
layer = runner.spec.layers[1]
np.savez(sys.argv[3], *whole, layer=runner.layer_output(layer))
"""


@pytest.fixture(scope="module")
def program(net: Path) -> Path:
    return build(net, profile.load(cuda.TARGET))


@pytest.fixture(scope="module")
def driver(net: Path, tmp_path_factory: pytest.TempPathFactory) -> cuda.StubDriver:
    cuda.require()
    texts = cuda.texts_of(net, profile.load(cuda.TARGET))
    return cuda.stub_driver(texts, tmp_path_factory.mktemp("driver"))


def predict(
    program: Path, feed: Path, found: Path, driver: cuda.StubDriver, **told: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PREDICT, program, feed, found], env=driver.environment(**told),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def feed(net: Path, program: Path, tmp_path: Path) -> Path:
    batches = batches_for(AotRunner.open(program).spec, net, data="", seed=3, samples=2)
    np.savez(tmp_path / "feed.npz", *(next(iter(batch.values())) for batch in batches))
    return tmp_path / "feed.npz"


def test_the_result_has_the_bits_of_a_cpu_and_nothing_is_left_behind(
    net: Path, program: Path, driver: cuda.StubDriver, feed: Path, tmp_path: Path
) -> None:
    done = predict(program, feed, tmp_path / "found.npz", driver)
    assert done.returncode == 0, done.stdout + done.stderr
    on_cpu = AotRunner.open(build(net, profile.load("x86-64-v3")))
    found, given = np.load(tmp_path / "found.npz"), np.load(feed)
    for index, name in enumerate(given):
        expected = on_cpu.run(given[name])[0]
        for turn in (2 * index, 2 * index + 1):
            np.testing.assert_array_equal(found[f"arr_{turn}"], expected)
    on_cpu.begin(given["arr_0"])
    for step in range(2):
        on_cpu.step(step)
    codes = on_cpu.layer_output(on_cpu.spec.layers[1])
    assert codes is not None
    # Unsigned there, as AVX2 multiplies.
    lowest = -128 if codes.dtype == np.int8 else 0
    expected = codes.astype(np.int32) - lowest
    np.testing.assert_array_equal(found["layer"].astype(np.int32) + 128, expected)
    log = driver.log()
    steps = len(AotRunner.open(program).spec.layers)
    assert log["left"] == 0
    assert log["graph_launches"] == 4  # one for each run
    assert log["graph_kernels"] == steps
    assert log["launches"] == 2 * steps  # one recording, and each step alone
    assert (log["cubins"] > 0, log["ptx"]) == (True, 0)


def test_a_newer_gpu_gets_ptx_and_computes_the_same(
    program: Path, driver: cuda.StubDriver, feed: Path, tmp_path: Path
) -> None:
    found = []
    for stub in ("", "newer"):
        done = predict(program, feed, tmp_path / f"{stub}.npz", driver, STUB=stub)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(np.load(tmp_path / f"{stub}.npz")["arr_0"])
    np.testing.assert_array_equal(*found)
    assert (driver.log()["cubins"], driver.log()["ptx"] > 0) == (0, True)


def test_layers_whose_threads_wait_for_each_other_have_the_bits_of_a_cpu(tmp_path: Path) -> None:
    cuda.require()
    int8 = int8_layer(tmp_path, "LSTM", "bidirectional")
    program = build(int8, profile.load(cuda.TARGET))
    driver = cuda.stub_driver(cuda.texts_of(int8, profile.load(cuda.TARGET)), tmp_path)
    x = np.random.default_rng(3).normal(0, 3, (1, 11, 5)).astype(np.float32)
    np.savez(tmp_path / "feed.npz", x=x)
    done = predict(program, tmp_path / "feed.npz", tmp_path / "found.npz", driver)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = of_onnxruntime(int8, x)[0]
    np.testing.assert_array_equal(np.load(tmp_path / "found.npz")["arr_0"], expected)


def run(unpacked: Path, driver: cuda.StubDriver, **told: str) -> "subprocess.CompletedProcess[str]":
    """The program's own runner, from an empty directory."""
    empty = unpacked / "empty"
    empty.mkdir(exist_ok=True)
    command = [str(unpacked / "runner"), "perf", "--min-seconds", "0", "--warmup-seconds", "0"]
    return subprocess.run(
        [*command, "--trials", "1"], cwd=empty, env=driver.environment(**told),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_runner_needs_nothing_but_the_driver(unpacked: Path, driver: cuda.StubDriver) -> None:
    done = run(unpacked, driver)
    assert done.returncode == 0, done.stderr
    assert driver.log()["left"] == 0
    needed = subprocess.run(
        ["readelf", "-d", unpacked / "libmodel.so"], capture_output=True, text=True, check=True
    )
    assert "cuda" not in needed.stdout


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        (
            "old", 5,
            "NVIDIA's driver is too old: it is of CUDA 11.4, and the program takes 12.0 or newer\n",
        ),
        ("none", 13, "NVIDIA's driver has no GPU here: CUDA error CUDA_ERROR_NO_DEVICE\n"),
        (
            "other", 8,
            "the program is for GPUs of compute capability 8.6 and newer, and here is Stub 1",
        ),
        ("busy", 13, "Stub 1 cannot be opened: CUDA error CUDA_ERROR_DEVICE_UNAVAILABLE\n"),
        (
            "kernels", 8,
            "Stub 1 cannot load the kernels: CUDA error CUDA_ERROR_UNSUPPORTED_PTX_VERSION\n",
        ),
        ("memory", 13, "Stub 1 has not enough memory: a buffer\n"),
        ("pinned", 13, "Stub 1 has not enough memory: memory for copies\n"),
        ("lost", 13, "Stub 1 failed: the program, CUDA error CUDA_ERROR_LAUNCH_FAILED\n"),
    ],
)  # fmt: skip
def test_whatever_fails_is_one_error_with_a_code_and_leaves_nothing_behind(
    unpacked: Path, driver: cuda.StubDriver, how: str, code: int, message: str
) -> None:
    done = run(unpacked, driver, STUB=how)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"error: {message}")
    assert "\n hint: " in done.stderr
    assert driver.log()["left"] == 0


def test_without_a_driver_it_says_what_to_install(
    unpacked: Path, driver: cuda.StubDriver, tmp_path: Path
) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"no library")
    done = run(unpacked, driver, LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error: libcuda.so.1 is not installed\n hint: install NVIDIA's")


def test_equal_builds_give_equal_bytes(net: Path, program: Path) -> None:
    before = program.read_bytes()
    program.unlink()
    assert build(net, profile.load(cuda.TARGET)).read_bytes() == before


def test_a_jetsons_program_is_made_here(net: Path) -> None:
    if not shutil.which("aarch64-linux-gnu-gcc"):
        pytest.skip("no compiler for 64-bit Arm here")
    spec, _ = read_program(build(net, profile.load("jetson-orin-nano")))
    assert (spec.target, spec.machine) == ("jetson-orin-nano", "aarch64")


def test_a_build_takes_neither_a_gpu_nor_its_driver(tmp_path: Path) -> None:
    """What cannot be run here is said, and the bundle is there."""
    draw = np.random.default_rng(0)
    parsed(
        tmp_path,
        """model (float[1, 3, 8, 8] x) => (float[1, 8] y) {
        a = Conv (x, w)
        b = Relu (a)
        y = ReduceMean <axes = [2, 3], keepdims = 0> (b)
        }""",
        w=draw.normal(size=(8, 3, 3, 3)).astype(np.float32),
    )
    np.save(tmp_path / "samples.npy", draw.normal(size=(20, 3, 8, 8)).astype(np.float32))
    (tmp_path / "libcuda.so.1").write_bytes(b"no library")
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(tmp_path), "EDGEKILN_STORE": str(tmp_path / "store"),
    }  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "-c", "from edgekiln.compiler.cli import main; main()", "build",
            "m.onnx", "--calibrate", "samples.npy", "--target", cuda.TARGET, "--json",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    compiled = next(step for step in told["steps"] if step["stage"] == "compile")
    assert compiled["score"] is None
    assert compiled["unscored"] == "no GPU for it is here: libcuda.so.1 is not installed"
    (target,) = told["targets"]
    assert (target["latencies"], target["unmeasured"]) == ([], "libcuda.so.1 is not installed")
    bundle = Bundle.open(tmp_path / target["bundle"])
    assert "example/input_0.bin" in bundle.files
    assert "example/output_0.bin" not in bundle.files
    missing = bundle.manifest.report["example"]["no_expected_output"]
    assert missing == "libcuda.so.1 is not installed"
