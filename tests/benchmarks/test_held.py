"""Engines held to the instruction set of a target that is less than the processor's."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekiln.benchmarks import held
from edgekiln.benchmarks.__main__ import main
from edgekiln.benchmarks.held_places import asked, places
from edgekiln.runtime.errors import ConfigError, MissingToolError

_FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
# An engine: a library that is loaded by hand, which asks CPUID on a thread of its own, beside an
# instruction that has the two bytes of CPUID in its number. Leaf 1 has no subleaves: what is in ECX
# there does not matter, and compilers leave in it what they had.
_ENGINE = """
#include <cpuid.h>
#include <pthread.h>
#include <stdio.h>
static void *ask(void *unused)
{
    unsigned a, b, c, d, number, avx = 0;
    __cpuid_count(7, 0, a, b, c, d);
    printf("avx2 %u avx512f %u ", b >> 5 & 1, b >> 16 & 1);
    for (unsigned left = 0; left < 2; left++) {
        __cpuid_count(1, left * 0x444d4163, a, b, c, d);
        avx |= c >> 28 & 1;
    }
    __asm__("movl $0xa20f, %0" : "=r"(number));
    printf("avx %u sse4_1 %u number %x\\n", avx, c >> 19 & 1, number);
    return unused;
}
int engine(void)
{
    pthread_t thread;
    return pthread_create(&thread, 0, ask, 0) || pthread_join(thread, 0);
}
"""
_PROGRAM = """
#include <dlfcn.h>
int main(int count, char **words)
{
    void *engine = dlopen(words[count - 1], RTLD_NOW);
    return engine ? ((int (*)(void))dlsym(engine, "engine"))() : 9;
}
"""
# What no auditor sees: it tells of its memory, as a Python is asked to.
_STATIC = """
#include <stdio.h>
int main(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    for (int byte; (byte = getc(maps)) != EOF;)
        putchar(byte);
    return 0;
}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library beside a program that loads it."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "engine.c").write_text(_ENGINE)
    (folder / "program.c").write_text(_PROGRAM)
    library, program = folder / "engine.so", folder / "program"
    words = ["gcc", "-shared", "-fPIC", "-pthread", "-o", str(library), str(folder / "engine.c")]
    subprocess.run(words, check=True)
    subprocess.run(["gcc", "-o", str(program), str(folder / "program.c"), "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("x86-64-v2", "avx2 0 avx512f 0 avx 0 sse4_1 1 number a20f"),
        ("x86-64-v3", "avx2 1 avx512f 0 avx 1 sse4_1 1 number a20f"),
        ("x86-avx-vnni", "avx2 1 avx512f 0 avx 1 sse4_1 1 number a20f"),
    ],
)
def test_a_held_engine_is_told_of_the_targets_instruction_sets_alone(
    engine: Path, tmp_path: Path, target: str, told: str
) -> None:
    if "avx2" not in _FLAGS:
        pytest.skip("this processor has no more than the least target")
    run = held.held_to(target, tmp_path, [engine.parent])
    words = run([str(engine.with_name("program")), str(engine)])
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == told


def test_cpuid_is_found_where_it_is_an_instruction_and_nowhere_else(engine: Path) -> None:
    assert engine.read_bytes().count(b"\x0f\xa2") == 3
    assert len(asked(engine)) == 2


def test_a_fault_of_the_engine_itself_stays_one(tmp_path: Path) -> None:
    (tmp_path / "faults.c").write_text("int main(void) { *(volatile int *)8 = 1; return 0; }")
    program = tmp_path / "faults"
    subprocess.run(["gcc", "-o", str(program), str(tmp_path / "faults.c")], check=True)
    run = held.held_to("x86-64-v3", tmp_path, [tmp_path])
    found = subprocess.run(run([str(program)]), capture_output=True, check=False, timeout=20)
    assert found.returncode == -11


def test_a_library_that_changed_since_it_was_read_is_not_run(engine: Path, tmp_path: Path) -> None:
    run = held.held_to("x86-64-v3", tmp_path, [engine.parent])
    places = tmp_path / "held.places"
    places.write_text(f"0 {engine}\n")
    words = run([str(engine.with_name("program")), str(engine)])
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert found.returncode == 2
    assert found.stderr == f"error: no CPUID where one was read: {engine}\n"


def test_a_python_that_does_not_run_is_named_before_anything_is_built(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    words = ["run", "--hold", "--target", "x86-64-v3", "--work", str(work), "--out", str(out)]
    run = CliRunner().invoke(main, [*words, "--peers-python", "/no/python"])
    assert run.exit_code == ConfigError.exit_code
    assert "/no/python does not run" in run.output
    assert not out.exists()
    assert list(work.iterdir()) == []


def test_a_python_that_passes_over_auditors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python.c").write_text(_STATIC)
    python = tmp_path / "python"
    words = ["gcc", "-static", "-o", str(python), str(tmp_path / "python.c")]
    subprocess.run(words, check=True)
    with pytest.raises(MissingToolError, match=f"{python} does not load"):
        held.held_to("x86-64-v3", tmp_path, [], [sys.executable, str(python)])


def test_a_linked_folder_is_looked_through_once(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "engine").symlink_to(engine.parent)
    (tmp_path / "packages" / "again").symlink_to(tmp_path / "packages")
    assert list(places([tmp_path / "packages"])) == [engine.resolve()]


def test_packages_that_an_environment_borrows_are_held_too(tmp_path: Path) -> None:
    own, borrowed = tmp_path / "own" / "site-packages", tmp_path / "engines"
    for folder in (own, borrowed):
        folder.mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={own}:{borrowed} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    found = {*held.packages_of([str(python)])}
    assert {own, borrowed} <= found
    assert not found & {Path(), Path(subprocess.__file__).parent}


def test_an_engine_cannot_be_held_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="gcc is not installed"):
        held.held_to("x86-64-v3", tmp_path, [])
