"""A call of compiled code that comes back when it touches memory that may not be touched."""

import ctypes
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgekiln.benchmarks.sanitizer.block import GuardedBlock, MemoryFaultError

MOST_WORDS = 24  # arguments of a call

# Kernels hold no lock and no memory, so a jump out of one leaves nothing behind. Every argument is
# passed as a word: what a function takes as int32 is the low half of its register or place.
_SOURCE = r"""
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t inside;
static __thread volatile uintptr_t where;
static __thread volatile sig_atomic_t wrote;

static void on_fault(int number, siginfo_t *info, void *context) {
    if (!inside) { /* not ours: once more, with what happens by default */
        signal(number, SIG_DFL);
        return;
    }
    where = (uintptr_t)info->si_addr;
#ifdef __x86_64__
    wrote = (((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
    (void)context;
    wrote = -1;
#endif
    siglongjmp(back, number);
}

/* What `entry` returns; or the signal that ended it, with fault[0], the address, and fault[1]: 1
 * for a write, 0 for a read, -1 where the processor does not say. */
int32_t caught_call(int32_t (*entry)(), const uintptr_t *a, uintptr_t fault[2], int32_t *result) {
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, segv, bus;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGSEGV, &ours, &segv);
    sigaction(SIGBUS, &ours, &bus);
    int number = sigsetjmp(back, 1);
    if (number == 0) {
        inside = 1;
        *result = entry(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11],
                        a[12], a[13], a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21],
                        a[22], a[23]);
    }
    inside = 0;
    fault[0] = where;
    fault[1] = (uintptr_t)(intptr_t)wrote;
    sigaction(SIGSEGV, &segv, 0);
    sigaction(SIGBUS, &bus, 0);
    return number;
}
"""
_HOW = {0: "reads", 1: "writes", -1: "touches"}


def call(entry: int, words: Sequence[int], blocks: Sequence[GuardedBlock]) -> int:
    """Call the function at an address with integers and pointers; returns what it returns.

    Args:
        blocks: memory that was handed in, to say what a forbidden address is near.

    Raises:
        MemoryFaultError: it touched what it may not.
    """
    assert len(words) <= MOST_WORDS, len(words)
    # More arguments than a C function has do no harm: it does not look at them.
    padded = [word % (1 << 64) for word in words] + [0] * (MOST_WORDS - len(words))
    fault, result = (ctypes.c_ssize_t * 2)(), ctypes.c_int32()
    arguments = (ctypes.c_uint64 * MOST_WORDS)(*padded)
    number = _library().caught_call(ctypes.c_void_p(entry), arguments, fault, ctypes.byref(result))
    if number:
        address = fault[0] % (1 << 64)
        known = next((block.tell(address) for block in blocks if block.holds(address)), "elsewhere")
        raise MemoryFaultError(f"{_HOW[fault[1]]} {known} ({signal.Signals(number).name})")
    return result.value


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="edgekiln-sanitizer-") as home:
        source, library = Path(home, "caught.c"), Path(home, "caught.so")
        source.write_text(_SOURCE, encoding="ascii")
        subprocess.run(
            ["cc", "-std=gnu11", "-O1", "-fPIC", "-shared", "-o", library, source], check=True
        )
        return ctypes.CDLL(str(library))
