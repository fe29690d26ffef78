"""A program becomes a library, a header and an executable that need nothing else."""

import ctypes
import itertools
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.aot import jit
from edgekiln.compiler.aot.build import Built, build
from edgekiln.compiler.aot.emit import EXPORTS
from edgekiln.compiler.aot.toolchain import GeneratedCodeError
from edgekiln.compiler.ir.memory import OVERREAD_BYTES
from edgekiln.runtime import manifest
from edgekiln.runtime.errors import MissingToolError, StorageError
from edgekiln.targets.profile import TargetProfile, Toolchain
from tests.compiler.aot import tiny
from tests.compiler.aot.tiny import N

Array = np.ndarray[Any, Any]
ALIGN_ERROR = 1


@pytest.fixture(scope="module")
def built() -> Built:
    return build(tiny.program(), tiny.PROFILE)


@pytest.fixture(scope="module")
def home(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("lib")
    for name, content in built.files.items():
        (home / name).write_bytes(content)
    return home


@pytest.fixture(scope="module")
def library(home: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(home / "libmodel.so"))


def run(library: ctypes.CDLL, x: Array, arena_bytes: int, *, skew: int = 0) -> tuple[int, Array]:
    """`model_run` in fresh memory; `skew` moves the input off its alignment."""
    source, target, arena = (jit.aligned(n) for n in (4 * N + skew, 4 * N, arena_bytes))
    source[skew : skew + 4 * N] = x.view(np.uint8)
    pointers = ctypes.c_void_p * 1
    status = library.model_run(
        pointers(source.ctypes.data + skew), pointers(target.ctypes.data),
        ctypes.c_void_p(arena.ctypes.data),
    )  # fmt: skip
    return status, target[: 4 * N].view(np.int32)


def test_the_library_computes_the_calls_in_order(library: ctypes.CDLL, built: Built) -> None:
    x = np.random.default_rng(0).integers(-1000, 1000, N).astype(np.int32)
    status, y = run(library, x, built.spec.arena_bytes)
    assert status == 0
    np.testing.assert_array_equal(y, tiny.expected(x))


def test_an_unaligned_pointer_is_refused_before_anything_runs(
    library: ctypes.CDLL, built: Built
) -> None:
    status, y = run(library, np.ones(N, np.int32), built.spec.arena_bytes, skew=4)
    assert status == ALIGN_ERROR
    assert not y.any()


def test_steps_in_any_split_give_what_a_run_gives(library: ctypes.CDLL, built: Built) -> None:
    x = np.arange(N, dtype=np.int32)
    source, target, arena = (jit.aligned(n) for n in (4 * N, 4 * N, built.spec.arena_bytes))
    source[: 4 * N] = x.view(np.uint8)
    inputs, outputs = ((ctypes.c_void_p * 1)(block.ctypes.data) for block in (source, target))
    for step, layer in enumerate(built.spec.layers):
        bounds = [0, layer.work // 3, layer.work] if layer.work else [0, 0]
        for begin, end in itertools.pairwise(bounds):
            address = ctypes.c_void_p(arena.ctypes.data)
            assert library.model_step(step, inputs, outputs, address, begin, end) == 0
    np.testing.assert_array_equal(target[: 4 * N].view(np.int32), tiny.expected(x))


def test_the_library_tells_its_sizes_without_the_header(library: ctypes.CDLL, built: Built) -> None:
    assert ctypes.c_size_t.in_dll(library, "model_arena_bytes").value == built.spec.arena_bytes
    assert ctypes.c_int32.in_dll(library, "model_step_count").value == len(built.spec.layers)
    assert ctypes.c_size_t.in_dll(library, "model_input_bytes").value == 4 * N


def test_the_library_exports_its_interface_alone_and_needs_no_other(home: Path) -> None:
    symbols = subprocess.check_output(["nm", "-D", "libmodel.so"], cwd=home, text=True)
    assert sorted(line.split()[-1] for line in symbols.splitlines()) == sorted(EXPORTS)
    dynamic = subprocess.check_output(["readelf", "-dW", "libmodel.so"], cwd=home, text=True)
    assert "NEEDED" not in dynamic


def test_the_archive_keeps_its_kernels_to_itself(home: Path) -> None:
    symbols = subprocess.check_output(["nm", "-g", "libmodel.a"], cwd=home, text=True)
    defined = [line.split()[-1] for line in symbols.splitlines() if len(line.split()) == 3]
    assert sorted(defined) == sorted(EXPORTS)


def test_equal_functions_share_one_symbol_and_equal_constants_one_place(built: Built) -> None:
    first, second, again, other = (layer.kernel for layer in built.spec.layers)
    assert first == again != second
    assert other.startswith("fallback_")
    assert built.spec.weights_bytes == 2 * 4 * N + OVERREAD_BYTES


def test_a_large_scratch_array_lies_in_the_arena(built: Built) -> None:
    scratch = 4 * (32 * (N - 1) + 1)  # up to its last element in use
    reader = 4 * N  # "c", which the last call reads while its scratch array is alive
    assert built.spec.arena_bytes == -(-scratch // 64) * 64 + reader + OVERREAD_BYTES
    assert built.arena_bound_bytes == built.spec.arena_bytes


def test_layers_tell_where_their_results_lie(built: Built) -> None:
    *inner, last = built.spec.layers
    assert all(layer.offset is not None and layer.offset % 64 == 0 for layer in inner)
    assert last.offset is None
    assert (last.integer, last.reason) == (False, "a test")


def test_the_program_description_is_in_the_artifact(built: Built) -> None:
    text = built.files["program.json"].decode()
    assert manifest.from_json(manifest.ProgramSpec, text, "program.json") == built.spec


def test_two_builds_give_the_same_bytes(built: Built) -> None:
    again = build(tiny.program(), tiny.PROFILE)
    assert again.files == built.files


def test_no_path_of_this_machine_is_in_the_artifact(built: Built) -> None:
    assert built.files
    assert [name for name, content in built.files.items() if b"edgekiln-aot" in content] == []


@pytest.mark.parametrize(
    "hostile", ['*/ "\\x" ??/ /* é\n', "*\\ int x;", "/\\*", "*/*/", "/*/*", "*??/", "a\r\u2028b"]
)
def test_a_model_name_cannot_break_the_generated_code(hostile: str, tmp_path: Path) -> None:
    program = tiny.program()
    calls = (replace(program.calls[0], name=hostile), *program.calls[1:])
    inputs = (replace(program.inputs[0], name=hostile),)
    made = build(replace(program, name=hostile, inputs=inputs, calls=calls), tiny.PROFILE)
    (tmp_path / "hostile.so").write_bytes(made.files["libmodel.so"])
    library = ctypes.CDLL(str(tmp_path / "hostile.so"))
    steps = ctypes.cast(library.model_steps, ctypes.POINTER(ctypes.c_char_p))
    assert steps[0] == hostile.encode()


def test_the_header_suits_c11_and_cpp(home: Path, tmp_path: Path) -> None:
    source = '#include "model.h"\nint main(void) { return MODEL_ARENA_BYTES == 0; }\n'
    for compiler, standard, name in (("gcc", "c11", "use.c"), ("g++", "c++17", "use.cpp")):
        (tmp_path / name).write_text(source)
        flags = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-std={standard}", f"-I{home}")
        subprocess.run([compiler, *flags, "-c", name, "-o", "use.o"], cwd=tmp_path, check=True)


def test_a_missing_compiler_is_named_with_its_packages() -> None:
    toolchain = Toolchain(cc="arm-none-gcc", packages=("gcc-arm-none", "libc6-dev-arm"))
    with pytest.raises(MissingToolError) as caught:
        build(tiny.program(), replace(tiny.PROFILE, toolchain=toolchain))
    assert caught.value.message == "arm-none-gcc is not installed"
    assert caught.value.hint == "sudo apt-get install -y gcc-arm-none libc6-dev-arm"
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("when", "says", "message"),
    [
        (
            "*-static*",
            "ld: cannot find -lc: No such file or directory",
            "cannot link a static executable: libc.a is missing",
        ),
        (
            "*-c*",
            "stdint.h:9:16: fatal error: stdint.h: No such file or directory",
            "has no C library for its target: stdint.h is missing",
        ),
    ],
)
def test_a_missing_c_library_is_named(tmp_path: Path, when: str, says: str, message: str) -> None:
    compiler = failing_compiler(tmp_path, when, says)
    with pytest.raises(MissingToolError) as caught:
        build(tiny.program(), compiler)
    assert caught.value.message == f"{tmp_path / 'cc'} {message}"
    assert caught.value.hint == "sudo apt-get install -y gcc libc6-dev"


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    compiler = failing_compiler(tmp_path, "*-c*", "cannot write model.o: No space left on device")
    with pytest.raises(StorageError) as caught:
        build(tiny.program(), compiler)
    assert caught.value.message == f"no space left in {tempfile.gettempdir()}"
    assert caught.value.hint == "free some, or set TMPDIR"


def test_generated_code_that_does_not_compile_is_our_bug_with_the_compilers_words(
    tmp_path: Path,
) -> None:
    compiler = failing_compiler(tmp_path, "*-c*", "note: x\nmodel.c:1:1: error: odd\nnote: y")
    with pytest.raises(GeneratedCodeError, match=r"model\.c:1:1: error: odd$"):
        build(tiny.program(), compiler)


def failing_compiler(home: Path, when: str, says: str) -> TargetProfile:
    """A profile whose C compiler is gcc, until its arguments match a shell pattern."""
    (home / "says").write_text(says)
    fake = home / "cc"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in {when}) cat {home}/says >&2; exit 1;; esac\nexec gcc "$@"\n'
    )
    fake.chmod(0o755)
    return replace(tiny.PROFILE, toolchain=replace(tiny.PROFILE.toolchain, cc=str(fake)))
