"""One case, compiled and run in a process of its own."""

import gc
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edgekiln.benchmarks.command import command
from edgekiln.benchmarks.conformance.cases import Case
from edgekiln.benchmarks.isolated import Verdict, isolated

if TYPE_CHECKING:
    from numpy.typing import NDArray


_FIRST = (
    '<ir_version: 8, opset_import: ["" : 17]> m (float[1, 4] x) => (float[1, 4] y) {y = Relu (x)}'
)


_OURS = "this is a bug of edgekiln"  # a traceback in other words

_ROUNDINGS = 4  # of the largest result: sums in another order
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    form: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0


def run(case: Case) -> Result:
    """Compile, run, compare. The caller has imported what is slow to import (`preload`)."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgekiln-conformance-") as home:
        verdict, detail = isolated(partial(_verdict, case, Path(home)))
    seconds = round(time.monotonic() - start, 2)
    return Result(name=case.name, form=case.form, verdict=verdict, detail=detail, seconds=seconds)


def _verdict(case: Case, home: Path) -> tuple[Verdict, str]:
    from edgekiln.benchmarks.sanitizer.block import MemoryFaultError
    from edgekiln.benchmarks.sanitizer.program import check_here

    model, lib = home / "model.onnx", home / "model.lib"
    onnx.save(case.model, model)
    # Operators are tried: what an operator's `past` is, is for the case to say.
    code, words = command("compile", model, "-o", lib, "--no-state")
    # The list of what is expected must not name a temporary directory.
    words = words.replace(str(model), "model.onnx")
    if _OURS in words:
        return "traceback", words
    if code:
        return "refused", words
    inputs = [np.array(_widened(array), order="C") for array in case.inputs]
    try:
        return _judge(case, check_here(lib, model, inputs))
    except MemoryFaultError as fault:
        return "wrong", f"the program {fault}"


def _judge(case: Case, results: "list[NDArray[np.generic]]") -> tuple[Verdict, str]:
    results = _there(case, results)
    if len(results) != len(case.outputs):
        return "wrong", f"{len(results)} outputs for {len(case.outputs)}"
    for index, (ours, exact) in enumerate(zip(results, case.outputs, strict=True)):
        theirs = _widened(exact)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            found, right = (f"{a.dtype}{list(a.shape)}" for a in (ours, theirs))
            return "wrong", f"output {index} is {found}, not {right}"
        rtol, atol = case.rtol, case.atol
        if theirs.dtype.kind == "f":  # a sum is off by roundings of its terms
            # Half of a unit in the last place of the type for each rounding.
            off = _ROUNDINGS * _EPS[exact.dtype.name] / 2
            rtol, atol = max(rtol, off), max(atol, off * _largest(theirs))
        if not np.allclose(ours, theirs, rtol=rtol, atol=atol, equal_nan=True):
            with np.errstate(all="ignore"):
                most = np.nanmax(np.abs(ours.astype("float64") - theirs.astype("float64")))
            return "wrong", f"output {index} is off by {most:.3g}"
    return "right", ""


def _there(case: Case, results: "list[NDArray[np.generic]]") -> "list[NDArray[np.generic]]":
    """The rows of NonMaxSuppression's fixed number that its count says are there."""
    if len(results) != 2 or case.model.graph.node[-1].op_type != "NonMaxSuppression":
        return results
    rows, (count,) = results
    return [rows[:count]] if (rows[count:] == -1).all() else results


def _widened(array: "NDArray[np.generic]") -> "NDArray[np.generic]":
    """Half floats as float32, in which programs compute them."""
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def _largest(array: "NDArray[np.generic]") -> float:
    """The largest finite magnitude; 0 where there is none."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def preload() -> None:
    """Import what every case needs and compile something, so that what a process computes once,
    such as the fingerprint of our code, is there when cases fork.
    """
    import tvm
    import tvm.relax.frontend.onnx

    import edgekiln.compiler.cli.group
    import edgekiln.compiler.lowering.lower
    from edgekiln.benchmarks.sanitizer.program import check_here

    assert tvm.relax.frontend.onnx
    assert edgekiln.compiler.cli.group
    assert edgekiln.compiler.lowering.lower
    with tempfile.TemporaryDirectory(prefix="edgekiln-conformance-") as home:
        model, lib = Path(home, "model.onnx"), Path(home, "model.lib")
        onnx.save(onnx.parser.parse_model(_FIRST), model)
        code, words = command("compile", model, "-o", lib)
        assert code == 0, words
        check_here(lib, model, [np.zeros((1, 4), np.float32)])
    # Else a collection in a child writes to every object, and so copies all that the parent has.
    gc.freeze()
