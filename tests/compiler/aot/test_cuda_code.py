"""What NVIDIA's compiler makes of the kernels, for every chip that a profile names: machine code
without local memory, and DP4A where products are.
"""

import itertools
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from onnx import TensorProto

from edgekiln.compiler.aot import cuda as cuda_text
from edgekiln.compiler.aot import nvrtc
from edgekiln.compiler.aot.gpu_text import prelude
from edgekiln.compiler.environment import toolchain
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.recurrent_ops import Cell
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.recurrent.kernel import RecurrentKernel
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets import isa, profile
from tests import cuda
from tests.benchmarks.replay_models import MODELS
from tests.compiler.qdq_models import QdqModel

ROOT = Path(__file__).parents[3]
CHIPS = sorted(
    {
        str(target.tvm["arch"])
        for target in map(profile.load, profile.names())
        if target.kind == "cuda"
    }
)
# Both compilers; each chip takes its time.
FEW = [("images", "sm_87"), ("images", "sm_110")]
# Whose products DP4A makes.
PRODUCTS = ("conv2d_", "dense_")
needs_compilers = pytest.mark.skipif(
    bool(nvrtc.problem("sm_87") or nvrtc.problem("sm_110")),
    reason="no NVIDIA compilers here: pip install 'edgekiln[cuda]'",
)


@cache
def texts(model: str, home: Path) -> Mapping[str, str]:
    return cuda.texts_of(MODELS[model](home / f"{model}.onnx"), profile.load(cuda.TARGET))


def instructions(cubin: bytes, home: Path) -> list[str]:
    """The lines of the machine code."""
    try:
        files = metadata.files("nvidia-cuda-nvdisasm") or ()
    except metadata.PackageNotFoundError:
        pytest.skip("no disassembler here: pip install nvidia-cuda-nvdisasm")
    (tool,) = (file for file in files if file.name == "nvdisasm")
    (home / "code.cubin").write_bytes(cubin)
    done = subprocess.run(
        [str(tool.locate()), "-c", home / "code.cubin"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def without_spills(symbol: str, text: str, chip: str, home: Path) -> list[str]:
    """The kernel's machine code, which keeps nothing in local memory."""
    made = nvrtc.compile_text(prelude("cuda") + text, f"{symbol}.cu", chip)
    told = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", made.log)
    assert told, made.log
    assert set(told.groups()) == {"0"}, f"{symbol}: {made.log}"
    lines = instructions(made.cubin, home)
    assert not [line for line in lines if re.search(r"\b(LDL|STL)\b", line)], symbol
    return lines


@needs_compilers
@pytest.mark.parametrize(
    ("model", "chip"),
    [
        pytest.param(*both, marks=() if both in FEW else pytest.mark.slow)
        for both in itertools.product(MODELS, CHIPS)
    ],
)
def test_no_kernel_spills_and_products_are_dp4a(
    model: str, chip: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    found = texts(model, tmp_path_factory.getbasetemp())
    products = 0
    for symbol, text in found.items():
        lines = without_spills(symbol, text, chip, tmp_path)
        if symbol.startswith(PRODUCTS) and "ek_dot" in text:
            products += 1
            dots = sum("IDP.4A" in line for line in lines)
            # Each stands in a loop, which the compiler unrolls or not.
            assert dots >= text.count("ek_dot("), symbol
    assert products or model == "floats"


@needs_compilers
@pytest.mark.parametrize("cell", get_args(Cell))
@pytest.mark.parametrize("chip", ["sm_87", "sm_110"])
def test_the_threads_of_a_recurrent_layer_share_memory_and_wait_for_each_other(
    chip: str, cell: Cell, tmp_path: Path
) -> None:
    width, rows = 100, (4 if cell == "lstm" else 3) * 100
    kernel = RecurrentKernel(
        cell=cell, length=9, batch=1, width=width, backward=False,
        weight=np.ones((rows, width), np.int8), bias=np.zeros(rows, np.int32),
        factor=np.ones(rows, np.float32), inverse=np.float32(127),
        y=Nhwc(n=1, h=9, w=1, c=width, dtype="int8", scale=1 / 127),
    )  # fmt: skip
    made = built(kernel, isa.load("cuda"))
    text = cuda_text.kernel_text(made.func, "layer", profile.load(cuda.TARGET).tvm)
    lines = without_spills("layer", text, chip, tmp_path)
    counts = [sum(word in line for line in lines) for word in ("IDP.4A", "LDS", "BAR.SYNC")]
    assert all(counts), counts


@needs_compilers
@pytest.mark.parametrize("chip", ["sm_87", "sm_110"])
def test_numbers_of_rows_and_places_are_of_64_bits(chip: str, tmp_path: Path) -> None:
    m = QdqModel()
    x, rows = m.q(m.input("x", 6, 8)), m.input("rows", 3, dtype=TensorProto.INT64)
    taken = m.op("Gather", x, rows, out="taken", axis=0)
    place = m.op("ArgMax", taken, out="place", axis=1)
    found = cuda.texts_of(m.save(tmp_path / "m.onnx", place), profile.load(cuda.TARGET))
    wide = {symbol: text for symbol, text in found.items() if "int64_t" in text}
    assert {symbol.rpartition("_")[0] for symbol in wide} == {"take", "top_k"}
    for symbol, text in wide.items():
        assert nvrtc.compile_text(prelude("cuda") + text, f"{symbol}.cu", chip).cubin


@needs_compilers
def test_equal_texts_give_equal_code() -> None:
    text = 'extern "C" __global__ void f(int* a) { a[threadIdx.x] = ek_dot(a[0], a[1], a[2]); }'
    made = [nvrtc.compile_text(prelude("cuda") + text, "f.cu", "sm_87") for _ in range(2)]
    assert (made[0].cubin, made[0].ptx) == (made[1].cubin, made[1].ptx)
    assert made[0].ptx.endswith(b"\0")


@needs_compilers
def test_a_text_that_is_wrong_is_told_by_the_compilers_words() -> None:
    with pytest.raises(nvrtc.NvrtcError, match=r'f\.cu: NVRTC error 6: .*"nothing" is undefined'):
        nvrtc.compile_text("__device__ int f() { return nothing; }", "f.cu", "sm_87")


def test_without_nvidias_compiler_one_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nvrtc, "version", lambda _arch: "")
    with pytest.raises(MissingToolError) as error:
        nvrtc.compile_text("", "f.cu", "sm_87")
    assert error.value.message == "NVIDIA's compiler, nvidia-cuda-nvrtc-cu12, is not installed"
    assert error.value.hint == "pip install 'edgekiln[cuda]'"


def test_a_build_says_so_before_its_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("gcc"):
        pytest.skip("no C compiler here")
    monkeypatch.setattr(nvrtc, "version", lambda _arch: "")
    with pytest.raises(MissingToolError) as error:
        toolchain.require(profile.load(cuda.TARGET))
    assert error.value.message.startswith(f"target {cuda.TARGET}: NVIDIA's compiler, ")
    assert error.value.hint == "pip install 'edgekiln[cuda]'"


@needs_compilers
def test_the_driver_that_compiles_ptx_fuses_no_product_with_a_sum() -> None:
    text = 'extern "C" __global__ void f(float* a) { a[0] = a[1] * a[2] + a[3]; }'
    ptx = nvrtc.compile_text(prelude("cuda") + text, "f.cu", "sm_87").ptx.decode()
    assert "mul.rn.f32" in ptx
    assert "add.rn.f32" in ptx
    assert "fma" not in ptx


def test_the_extra_has_every_compiler_that_a_profile_needs() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    required = settings["project"]["optional-dependencies"]["cuda"]
    assert {line.partition("==")[0] for line in required} == {
        nvrtc.toolkit(chip).package for chip in CHIPS
    }
