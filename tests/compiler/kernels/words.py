"""What the tests of codes of 16 bits have in common."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import microkernel, quick

HERE = [name for name in harness.TARGETS if name != "x86_amx"]
# Under QEMU every call is a process: all are tried there by the slow suite.
everywhere = pytest.mark.parametrize(
    "name",
    [
        *HERE,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (*harness.EMULATED, *harness.GPUS)),
    ],
)
few = settings(quick, max_examples=3)
TYPES = st.sampled_from(["int16", "int16", "bytes"])  # of results


def words(name: str) -> tuple[MicroKernel, str]:
    """The micro-kernel of 16 bits of a chip, and the type of its bytes."""
    mk = microkernel(name)
    return isa.for_words(mk), mk.activation


def of(dtype: str, activation: str) -> str:
    """The type of these codes on a chip."""
    return activation if dtype == "bytes" else dtype
