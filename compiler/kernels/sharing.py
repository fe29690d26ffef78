"""Kernels of one shape share one function, and know which without making it.

What a kernel depends on splits in two: numbers that lie in memory, its constants, and the rest,
which determines its code. The code is made of a kernel whose numbers are erased, so that it cannot
depend on them, and only when somebody asks for it; its signature is a hash of what is left.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Protocol, Self, TypeVar

import numpy as np

from edgekiln.compiler.ir.memory import PrimFunc
from edgekiln.compiler.kernels.builder import declarations, on_threads
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel


class Shareable(Protocol):
    """A kernel that knows which other ones have the same code."""

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code: with other numbers in memory."""
        ...


# Metadata of a field that came after tuning files: what is None there is not part of a signature.
SIGNED_IF_SET = "signed if set"

K = TypeVar("K", bound=Shareable)
Builder = Callable[[K, MicroKernel], Kernel]


def shared(build: Builder[K]) -> Builder[K]:
    """Decorates a method that builds a kernel with `KernelBuilder`.

    Constants and work come from the kernel itself, the code from what is left when its numbers are
    erased.
    """

    @wraps(build)
    def declare(kernel: K, mk: MicroKernel) -> Kernel:
        # Parameters alone: constants and work, without a function.
        with declarations(), on_threads(mk.group):
            declared = build(kernel, mk)
        # The code must not depend on the kernel's own numbers, so it never sees them.
        general = kernel.erased

        def emit() -> PrimFunc:
            with on_threads(mk.group):
                return build(general, mk).func

        code = replace(
            declared.code, emit=emit, signature=signature(build.__qualname__, general, mk)
        )
        return replace(declared, code=code)

    return declare


def signature(*parts: object) -> str:
    """A hash of kernels, micro-kernels and names: equal signatures, equal parts."""
    text = json.dumps([_described(part) for part in parts], allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _described(value: object) -> object:
    """The value as JSON: arrays by their hash, dataclasses by their name and fields.

    Their name is `SIGNED_AS`, where a class has that, else its own.
    """
    match value:
        case float() if math.isinf(value):  # a bound that is none
            return str(value)
        case None | bool() | int() | str() | float():
            return value
        case np.generic():
            return [str(value.dtype), value.item()]
        case np.ndarray():
            digest = hashlib.sha256(value.tobytes()).hexdigest()
            return [str(value.dtype), list(value.shape), digest]
        case tuple():
            return [_described(item) for item in value]
        case _ if is_dataclass(value):
            set_fields = ((f, getattr(value, f.name)) for f in fields(value))
            own = {
                f.name: _described(each)
                for f, each in set_fields
                if each is not None or not f.metadata.get(SIGNED_IF_SET)
            }
            # Tuning files keep signatures: a renamed class stays what it was measured as.
            name = vars(type(value)).get("SIGNED_AS", type(value).__qualname__)
            return {"": name, **own}
        case _:
            raise TypeError(f"no part of a signature: {value!r}")
