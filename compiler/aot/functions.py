"""The distinct functions of a program, named and compiled."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from edgekiln.compiler.aot import nvrtc
from edgekiln.compiler.aot.codegen import Compiled
from edgekiln.compiler.ir.program import Call, Program
from edgekiln.compiler.pipeline.fingerprint import code_sha256
from edgekiln.compiler.pipeline.object_cache import NO_CACHE, ObjectCache
from edgekiln.runtime.codec import digest
from edgekiln.runtime.errors import EdgeKilnError, UnsupportedError

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

# A function of TIR, its symbol and a profile's `[tvm]` table, compiled.
CompileFunction = Callable[["PrimFunc", str, Mapping[str, object]], Compiled]

# What makes code of a signature, besides whoever compiles it: whoever writes the kernel.
_MAKER = "edgekiln.compiler.lowering.lower"
_TOOLS = ("apache-tvm", "apache-tvm-ffi")
_NAME_DIGITS = 12  # of a hash, hexadecimal: enough to tell the functions of any program apart


@dataclass(frozen=True, kw_only=True)
class Functions:
    """`symbols[i]` is what the program's i-th call calls; `compiled` is in order of first call, and
    `sources` are the C files that have the others.
    """

    symbols: tuple[str, ...]
    compiled: Mapping[str, Compiled]
    sources: tuple[str, ...] = ()

    def workspace(self, symbol: str) -> tuple[int, ...]:
        """The bytes of scratch memory behind each pointer that a function takes last."""
        return self.compiled[symbol].workspace if symbol in self.compiled else ()


def compile_functions(
    program: Program,
    tvm_target: Mapping[str, object],
    compile_function: CompileFunction,
    cache: ObjectCache = NO_CACHE,
) -> Functions:
    """Compile every distinct function once, or find it in the cache.

    Args:
        compile_function: the backend's.

    Raises:
        UnsupportedError: TVM made a function of a float operator that its code generator refuses.
    """
    names = [_name(call) for call in program.calls]
    floats = {
        symbol: call.reason
        for call, (symbol, _) in zip(program.calls, names, strict=True)
        if not call.integer
    }
    found: dict[str, Compiled] = {}
    jobs: dict[str, Future[Compiled]] = {}
    code = code_sha256(_MAKER, compile_function.__module__)
    # TVM's passes and LLVM run outside the interpreter lock, so threads use the cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for call, (symbol, identity) in zip(program.calls, names, strict=True):
            # Layers of one shape share their code.
            if symbol in found or symbol in jobs or call.code.written:
                continue
            key = _key(symbol, identity, tvm_target, code)
            if cached := _find(cache, key):
                found[symbol] = cached
            else:
                func = call.code.func  # made here, while threads compile those before it
                make = partial(compile_function, func, symbol, tvm_target)
                jobs[symbol] = pool.submit(_make, make, cache, key)
        found |= {symbol: _result(job, floats.get(symbol, "")) for symbol, job in jobs.items()}
    symbols = tuple(symbol for symbol, _ in names)
    written = [call.code.written for call in program.calls if call.code.written]
    return Functions(
        symbols=symbols,
        compiled={symbol: found[symbol] for symbol in symbols if symbol in found},
        sources=tuple(dict.fromkeys(function.source for function in written)),
    )


def _key(symbol: str, identity: str, tvm_target: Mapping[str, object], code: str) -> str:
    return digest(
        {
            "symbol": symbol,
            "function": identity,
            "target": tvm_target,
            "code": code,
            "tools": _tools(tvm_target),
        }
    )


def _tools(tvm_target: Mapping[str, object]) -> dict[str, str]:
    """Whatever compiles, by name and version."""
    named = {tool: metadata.version(tool) for tool in _TOOLS}
    if tvm_target["kind"] == "cuda":
        named["nvrtc"] = nvrtc.version(str(tvm_target["arch"]))
    return named


def _find(cache: ObjectCache, key: str) -> Compiled | None:
    content = cache.get(key)
    if content is None:
        return None
    # A line of JSON, then the object file.
    head, _, code = content.partition(b"\n")
    return Compiled(object=code, workspace=tuple(json.loads(head)))


def _make(make: Callable[[], Compiled], cache: ObjectCache, key: str) -> Compiled:
    made = make()
    cache.put(key, json.dumps(made.workspace).encode() + b"\n" + made.object)
    return made


def _result(job: "Future[Compiled]", operators: str) -> Compiled:
    """The compiled function. Our kernels compile, or that is a bug; TVM's own may be refused."""
    try:
        return job.result()
    except EdgeKilnError:
        raise
    except Exception as error:  # TVM raises whatever its layers raise
        # A kernel of our own that does not compile is a bug: it keeps its traceback.
        if not operators:
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"float operators cannot be compiled ({operators}): {lines[-1]}",
            "replace the operator in the model, or quantize the part that uses it",
        ) from error


def _name(call: Call) -> tuple[str, str]:
    """The symbol of a call's function, e.g. conv2d_3f9a1c04e2b7, and the hash it ends with.

    The name tells the code: it is the same in every program for every target.
    """
    if call.code.written:
        return call.code.written.symbol, ""
    identity = call.code.signature or _text_sha256(call.code.func)
    stem = re.sub(r"\W+", "_", call.op).strip("_").lower()
    return f"{stem}_{identity[:_NAME_DIGITS]}", identity


def _text_sha256(func: "PrimFunc") -> str:
    from tvm import ir

    text = ir.save_json(func.without_attr("global_symbol"))  # a name is no difference
    return hashlib.sha256(text.encode()).hexdigest()
