"""Whole networks on AMX tiles, through the runner: the bytes of the same network on vectors."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.autotune import tune
from edgekiln.compiler.build.driver import Request
from edgekiln.compiler.build.driver import build as build_bundles
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.documents.progress import lines
from edgekiln.compiler.pipeline.source_models import models_of
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.tuning import table
from edgekiln.runtime import bundle, host
from edgekiln.runtime.bundle import ProgramFile, read_program
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests import amx
from tests.compiler import artifacts
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build

VECTORS = "x86-avx512-vbmi"
TILES = b"\xc4\xe2\x78\x49\xc0"  # TILERELEASE: the end of every kernel that uses them


@pytest.fixture(autouse=True)
def _with_vectors() -> None:
    if missing := set(profile.load(VECTORS).features) - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")


def residual_net(path: Path) -> Path:
    """First layer, 3×3 with a residual, a downsampling block, a wide 1×1, pool and dense."""
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 3, 20, 20), scale=0.02, zero=-5)
    a = m.q(m.conv(x, 32, 3, 3, 3, out="a", strides=[2, 2], pads=[0, 0, 1, 1]), scale=0.07, zero=3)
    b = m.q(m.conv(a, 32, 32, 3, 3, out="b", pads=[1, 1, 1, 1]), scale=0.6, zero=4)
    c = m.q(m.op("Relu", m.op("Add", a, b, out="sum"), out="relu"), scale=0.5, zero=-128)
    d = m.q(m.conv(c, 72, 32, 3, 3, out="d", strides=[2, 2], pads=[1, 1, 1, 1]), scale=3.1)
    e = m.q(m.conv(d, 40, 72, 1, 1, out="e"), scale=9.1)
    pool = m.q(m.op("GlobalAveragePool", e, out="pool"), scale=4.0)
    weight, _ = m.weight(10, 40)
    m.op("Gemm", m.op("Flatten", pool, out="flat"), weight, out="logits", transB=1)
    return m.save(path, "logits")


def attention_net(path: Path) -> Path:
    """softmax-free attention over 40 tokens of 64 features, and a dense layer for each token."""
    m = QdqModel(seed=6)
    x = m.q(m.input("x", 1, 40, 64), scale=0.02)
    wide, _ = m.weight(64, 96, axis=1)
    hidden = m.q(m.op("MatMul", x, wide, out="hidden"), scale=0.3)
    back, _ = m.weight(96, 64, axis=1)
    key = m.q(m.op("MatMul", hidden, back, out="key"), scale=4.0, zero=-7)
    turned = m.op("Transpose", key, out="turned", perm=[0, 2, 1])
    scores = m.q(m.op("MatMul", x, turned, out="scores"), scale=2.0, zero=11)
    m.op("MatMul", scores, key, out="mixed")
    return m.save(path, "mixed")


def check_bytes(model: Path, tmp_path: Path) -> None:
    """Both programs on the same inputs, the one with tiles with one thread and with two."""
    vectors = AotRunner.open(build(model, profile.load(VECTORS)))
    home = tmp_path / "tiles"
    target = amx.target()
    if "amx_tile" not in target.features:
        target = amx.with_emulator(target, tmp_path)
    bundle.extract(build(model, target), home)
    assert (home / "libmodel.so").read_bytes().count(TILES) > 1
    rng = np.random.default_rng(2)
    for scale in (1.0, 10.0):
        x = rng.normal(scale=scale, size=vectors.inputs[0].shape).astype(np.float32)
        (home / "x.bin").write_bytes(x.tobytes())
        (expected,) = vectors.run(x)
        for threads in ("1", "2"):
            command = ["./runner", "run", "--input", "x.bin", "--output", "y.bin"]
            subprocess.run(
                [*command, "--threads", threads], cwd=home, env={"PATH": os.environ["PATH"]},
                check=True,
            )  # fmt: skip
            assert (home / "y.bin").read_bytes() == expected.tobytes()


@pytest.mark.parametrize("net", [residual_net, attention_net])
def test_tiles_give_the_bytes_of_vectors_with_one_thread_and_two(
    tmp_path: Path, net: Callable[[Path], Path]
) -> None:
    check_bytes(net(tmp_path / "net.onnx"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"), [("resnet8", "digits"), ("resnet18", "digits?size=64"), ("vit", "digits")]
)
def test_the_zoo_gives_the_bytes_of_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: str
) -> None:
    monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / "store"))
    request = Request(
        model=name, targets=(profile.load(VECTORS),), out=tmp_path / "out", trial_s=0.0,
        recipe=Recipe(data=data, skip=("distill", "prune")),
    )  # fmt: skip
    built = build_bundles(request, Store(), lines)
    int8, *_ = models_of(ProgramFile.open(Path(built.targets[0].bundle)))
    check_bytes(int8, tmp_path)


def test_a_program_with_tiles_runs_in_this_process(tmp_path: Path) -> None:
    model = residual_net(tmp_path / "net.onnx")
    amx.ready()
    vectors = AotRunner.open(build(model, profile.load(VECTORS)))
    tiles = AotRunner.open(build(model, amx.target()))
    x = np.random.default_rng(3).normal(size=vectors.inputs[0].shape).astype(np.float32)
    np.testing.assert_array_equal(tiles.run(x)[0], vectors.run(x)[0])


@pytest.mark.skipif("amx_tile" in host.cpu_flags(), reason="this machine's tiles are fast")
def test_tuning_leaves_tiles_where_vectors_are_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated tiles are slow: measured beside vectors, they lose every layer."""
    monkeypatch.setattr(tune, "CANDIDATES", 2)
    model, target = attention_net(tmp_path / "net.onnx"), amx.with_emulator(amx.target(), tmp_path)
    tuned = tune.tune(model, target, trials=1)
    assert "matrix" in {row.default.algorithm for row in tuned.rows}
    assert {row.tile.algorithm for row in tuned.rows} == {"direct"}
    table.write(tmp_path / "t.jsonl", tuned.rows)
    context = StageContext(target=target, scratch=tmp_path)
    CompileStage(tuning=str(tmp_path / "t.jsonl")).run(
        artifacts.of(model), tmp_path / "net.lib", context
    )
    assert context.notes[-1] == "tiles (t.jsonl): 4 of 4 layers measured"
    assert TILES not in read_program(tmp_path / "net.lib")[1]["libmodel.so"]


def test_c_needs_to_know_nothing_of_tiles(tmp_path: Path) -> None:
    """Its author asks Linux for nothing: the library does."""
    target = profile.load("x86-amx")
    if missing := set(target.features) - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    files = ProgramFile.open(build(residual_net(tmp_path / "net.onnx"), target)).files
    for name in ("model.h", "libmodel.a"):
        (tmp_path / name).write_bytes(files[name])
    example = Path(bundle.__file__).parent / "c" / "example.c"
    command = ["gcc", f"-I{tmp_path}", str(example), "libmodel.a", "-lm", "-o", "classify"]
    subprocess.run(command, cwd=tmp_path, check=True)
    picture = bytes(4 * 3 * 20 * 20)
    done = subprocess.run(
        ["./classify"], cwd=tmp_path, input=picture, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"class ")


REFUSED = """
#include <signal.h>
#include <stdio.h>
#include "model.h"

static char small[8192];
static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
static _Alignas(MODEL_ALIGN) unsigned char in[MODEL_INPUT_0_BYTES], out[MODEL_OUTPUT_0_BYTES];

static void set_stack(int flags) {
    stack_t stack = {.ss_sp = small, .ss_size = sizeof small, .ss_flags = flags};
    if (sigaltstack(&stack, NULL) != 0) perror("sigaltstack");
}

/* Before the library's own. */
__attribute__((constructor(101))) static void begin(void) { set_stack(0); }

int main(void) {
    const void *ins[] = {in};
    void *outs[] = {out};
    int refused = model_run(ins, outs, arena), step = model_step(0, ins, outs, arena, 0, 1);
    set_stack(SS_DISABLE);
    printf("%d %d %d\\n", refused - MODEL_E_TILES, step - MODEL_E_TILES,
           model_run(ins, outs, arena));
    return 0;
}
"""


def test_tiles_that_linux_refuses_are_an_error_and_no_illegal_instruction(tmp_path: Path) -> None:
    """As where a handler's stack is too small for them."""
    target = profile.load("x86-amx")
    if missing := set(target.features) - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    files = ProgramFile.open(build(residual_net(tmp_path / "net.onnx"), target)).files
    for name in ("model.h", "libmodel.a"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "main.c").write_text(REFUSED)
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "main.c", "libmodel.a", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0 0 0\n", "")
