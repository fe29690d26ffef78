"""Engines held to the instruction set of a target that is less than the processor's."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekiln.benchmarks import held
from edgekiln.benchmarks.__main__ import main
from edgekiln.runtime.errors import MissingToolError

_FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
# What an engine does: asks CPUID, in a library that is loaded by hand, on a thread of its own.
_ASKS = """
#include <cpuid.h>
#include <pthread.h>
#include <stdio.h>
static void *ask(void *unused)
{
    unsigned a, b, c, d;
    __cpuid_count(7, 0, a, b, c, d);
    printf("avx2 %u avx512f %u ", b >> 5 & 1, b >> 16 & 1);
    __cpuid_count(1, 0, a, b, c, d);
    printf("avx %u sse4_1 %u\\n", c >> 28 & 1, c >> 19 & 1);
    return unused;
}
int main(void)
{
    pthread_t thread;
    return pthread_create(&thread, 0, ask, 0) || pthread_join(thread, 0);
}
"""


@pytest.fixture(scope="module")
def asks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "cpuid_fault" not in _FLAGS:
        pytest.skip("this processor cannot make CPUID fault")
    folder = tmp_path_factory.mktemp("held")
    (folder / "asks.c").write_text(_ASKS)
    words = ["gcc", "-pthread", "-o", str(folder / "asks"), str(folder / "asks.c")]
    subprocess.run(words, check=True)
    return folder / "asks"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("x86-64-v2", "avx2 0 avx512f 0 avx 0 sse4_1 1"),
        ("x86-64-v3", "avx2 1 avx512f 0 avx 1 sse4_1 1"),
        ("x86-avx-vnni", "avx2 1 avx512f 0 avx 1 sse4_1 1"),
    ],
)
def test_a_held_engine_is_told_of_the_targets_instruction_sets_alone(
    asks: Path, target: str, told: str
) -> None:
    if "avx2" not in _FLAGS:
        pytest.skip("this processor has no more than the least target")
    run = held.held_to(target, asks.parent)
    found = subprocess.run(run([str(asks)]), capture_output=True, text=True, check=True)
    assert found.stdout.strip() == told


def test_a_fault_of_the_engine_itself_stays_one(asks: Path) -> None:
    (asks.parent / "faults.c").write_text("int main(void) { *(volatile int *)8 = 1; return 0; }")
    program = asks.parent / "faults"
    subprocess.run(["gcc", "-o", str(program), str(asks.parent / "faults.c")], check=True)
    run = held.held_to("x86-64-v3", asks.parent)
    found = subprocess.run(run([str(program)]), capture_output=True, check=False, timeout=20)
    assert found.returncode == -11


def test_where_cpuid_cannot_fault_nothing_is_built_or_written(tmp_path: Path) -> None:
    if "cpuid_fault" in _FLAGS:
        pytest.skip("this processor can make CPUID fault")
    work, out = tmp_path / "work", tmp_path / "out"
    words = ["run", "--hold", "--target", "x86-64-v3", "--work", str(work), "--out", str(out)]
    run = CliRunner().invoke(main, words)
    assert run.exit_code == MissingToolError.exit_code
    assert "peers cannot be held: this processor or kernel cannot make CPUID fault" in run.output
    assert "measure without --hold" in run.output
    assert not out.exists()
    assert [path.name for path in work.iterdir()] == ["held.so"]
