"""The distinct functions of a program, named and compiled."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.aot.codegen import Compiled, compile_function
from edgekiln.compiler.program import Program

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc


@dataclass(frozen=True, kw_only=True)
class Functions:
    """`symbols[i]` is what the program's i-th call calls; `compiled` is in order of first call."""

    symbols: tuple[str, ...]
    compiled: Mapping[str, Compiled]


def compile_functions(program: Program, tvm_target: Mapping[str, Any]) -> Functions:
    """Compile every distinct function once; calls with structurally equal functions share it."""
    symbols, distinct = _name(program)
    # TVM's passes and LLVM run outside the interpreter lock, so threads use the cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {
            symbol: pool.submit(compile_function, func, symbol, tvm_target)
            for symbol, func in distinct.items()
        }
        compiled = {symbol: job.result() for symbol, job in jobs.items()}
    return Functions(symbols=symbols, compiled=compiled)


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
