"""The distinct functions of a program, named and compiled."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.aot.codegen import Compiled, compile_function
from edgekiln.compiler.program import Program
from edgekiln.runtime.errors import EdgeKilnError, UnsupportedError

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc


@dataclass(frozen=True, kw_only=True)
class Functions:
    """`symbols[i]` is what the program's i-th call calls; `compiled` is in order of first call."""

    symbols: tuple[str, ...]
    compiled: Mapping[str, Compiled]


def compile_functions(program: Program, tvm_target: Mapping[str, Any]) -> Functions:
    """Compile every distinct function once; calls with structurally equal functions share it.

    Raises:
        UnsupportedError: TVM made a function of a float operator that its code generator refuses.
    """
    symbols, distinct = _name(program)
    floats = {
        symbol: call.reason
        for call, symbol in zip(program.calls, symbols, strict=True)
        if not call.integer
    }
    # TVM's passes and LLVM run outside the interpreter lock, so threads use the cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {
            symbol: pool.submit(compile_function, func, symbol, tvm_target)
            for symbol, func in distinct.items()
        }
        compiled = {symbol: _result(job, floats.get(symbol, "")) for symbol, job in jobs.items()}
    return Functions(symbols=symbols, compiled=compiled)


def _result(job: "Future[Compiled]", operators: str) -> Compiled:
    """Our kernels compile, or that is a bug; TVM's functions may be beyond its code generator."""
    try:
        return job.result()
    except EdgeKilnError:
        raise
    except Exception as error:  # TVM raises whatever its layers raise
        if not operators:
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"float operators cannot be compiled ({operators}): {lines[-1]}",
            "replace the operator in the model, or quantize the part that uses it",
        ) from error


def _name(program: Program) -> "tuple[tuple[str, ...], dict[str, PrimFunc]]":
    """A symbol for each call, e.g. conv2d_0, dense_2; and the function of each symbol."""
    from tvm_ffi import structural_equal, structural_hash

    by_hash: dict[int, list[tuple[str, PrimFunc]]] = {}
    counter: Counter[str] = Counter()
    symbols = []
    for call in program.calls:
        func = call.func.without_attr("global_symbol")  # a name is no difference
        twins = by_hash.setdefault(structural_hash(func), [])
        symbol = next((name for name, other in twins if structural_equal(func, other)), None)
        if symbol is None:
            stem = re.sub(r"\W+", "_", call.op).strip("_").lower()
            symbol = f"{stem}_{counter[stem]}"
            counter[stem] += 1
            twins.append((symbol, func))
        symbols.append(symbol)
    named = {name: func for twins in by_hash.values() for name, func in twins}
    return tuple(symbols), {name: named[name] for name in dict.fromkeys(symbols)}
