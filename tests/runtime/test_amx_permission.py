"""Tile registers must be asked for: a refusal is a sentence, not an illegal instruction."""

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.aot.build import build
from edgekiln.runtime import host
from edgekiln.runtime.amx_permission import request_amx_permission
from edgekiln.runtime.errors import BundleError
from tests.compiler.aot import tiny
from tests.runtime import c_runner

HINT = (
    "it takes Linux 5.16 and a virtual machine or container that passes it on; "
    "or build it with another --target"
)
refusing = pytest.mark.skipif(
    "amx_tile" in host.cpu_flags(), reason="this machine grants what the test wants refused"
)
MODEL = Path(__file__).parent / "fixtures" / "model.c"


@refusing
def test_a_runner_says_that_linux_refuses_the_tiles(tmp_path: Path) -> None:
    """A CPU that has them, as far as the runner can see, under a kernel that does not."""
    cpu = tmp_path / "any_cpu.c"
    cpu.write_text("int __wrap_cpu_has(const char *name) { return name != 0; }\n")
    c_runner.link(
        tmp_path, [MODEL, cpu], "-Wl,--wrap=cpu_has", target="x86-amx", features=["amx_tile"]
    )
    done = c_runner.run(tmp_path, "perf")
    assert done.returncode == 8
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: made for x86-amx, Linux refuses amx_tile: ")
    assert hint == f" hint: {HINT}"


@refusing
def test_a_program_in_this_process_is_refused_with_the_same_words() -> None:
    with pytest.raises(BundleError, match=r"net\.ekb: Linux refuses amx_tile: ") as error:
        request_amx_permission(["avx2", "amx_tile"], "net.ekb")
    assert error.value.hint == HINT


class Libc:
    """Counts system calls, and grants them."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def syscall(self, *arguments: int) -> int:
        self.calls.append(arguments)
        return 0


@pytest.mark.parametrize(
    ("features", "calls"),
    [
        (["avx2", "avx512f"], []),
        ([], []),
        (["avx2", "amx_tile"], [(158, 0x1023, 18)]),
    ],
)
def test_linux_is_asked_for_tiles_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch, features: list[str], calls: list[tuple[int, ...]]
) -> None:
    libc = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: libc)
    request_amx_permission(features, "net.ekb")
    assert libc.calls == calls


def test_a_library_asks_as_it_is_loaded_where_it_needs_tiles_and_says_so() -> None:
    plain = tiny.PROFILE
    for profile in (plain, replace(plain, features=(*plain.features, "amx_tile"))):
        files = build(tiny.program(), profile).files
        asks = profile is not plain
        assert (b"The library does, as it is loaded" in files["model.h"]) == asks
        assert (b"\x0f\x05" in files["libmodel.so"]) == asks  # the instruction `syscall`
