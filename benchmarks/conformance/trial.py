"""One case, compiled and run in a process of its own: whatever happens there is a result."""

import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from edgekiln.benchmarks.conformance.cases import Case

# right; wrong: other numbers, shapes or types; refused: an error of ours that names a reason;
# traceback: an error that is not ours; crash: the process died; hang: it took too long.
Verdict = Literal["right", "wrong", "refused", "traceback", "crash", "hang"]

SECONDS = 60
_MEMORY_BYTES = 4 << 30  # of data, above what the process has when it starts
_WORDS = 300  # of a detail, in characters


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    form: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0


def run(case: Case) -> Result:
    """Fork, compile, run, compare. The caller has imported what is slow to import."""
    start = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_the_child(case, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    seconds = round(time.monotonic() - start, 2)
    verdict: Verdict = "crash"
    detail = f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no answer"
    if answer:
        verdict, detail = json.loads(answer)
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        verdict, detail = "hang", f"more than {SECONDS} s"
    return Result(name=case.name, form=case.form, verdict=verdict, detail=detail, seconds=seconds)


def _in_the_child(case: Case, writing: int) -> None:
    """Never returns."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    limit = _MEMORY_BYTES + _data_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with Path(os.devnull).open("wb") as nothing:  # what native code prints
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    try:
        with tempfile.TemporaryDirectory(prefix="edgekiln-conformance-") as home:
            answer = _verdict(case, Path(home))
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        answer = ("traceback", f"{type(error).__name__}: {error} ({where})"[:_WORDS])
    os.write(writing, json.dumps(answer).encode())
    os._exit(0)


def _data_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    return pages * resource.getpagesize()


def _verdict(case: Case, home: Path) -> tuple[Verdict, str]:
    from edgekiln.runtime.runner import AotRunner

    model, lib = home / "model.onnx", home / "model.lib"
    onnx.save(case.model, model)
    refusal = _compile(model, lib)
    if refusal:
        return "refused", refusal
    runner = AotRunner.open(lib)
    results = runner.run(*(np.array(array, order="C") for array in case.inputs))
    return _judge(case, results)


def _compile(model: Path, lib: Path) -> str:
    """By the command that users type; its refusal, or "" where it made a program."""
    from edgekiln.compiler.cli.group import edgekiln

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            edgekiln.main(
                ["compile", str(model), "-o", str(lib)], prog_name="edgekiln", standalone_mode=True
            )
        except SystemExit as end:
            if end.code:
                return err.getvalue().strip().replace(str(model), "model.onnx")[:_WORDS]
    return "" if lib.is_file() else "no program, and no word"


def _judge(case: Case, results: "list[np.ndarray]") -> tuple[Verdict, str]:
    if len(results) != len(case.outputs):
        return "wrong", f"{len(results)} outputs for {len(case.outputs)}"
    for index, (ours, theirs) in enumerate(zip(results, case.outputs, strict=True)):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            found, right = (f"{a.dtype}{list(a.shape)}" for a in (ours, theirs))
            return "wrong", f"output {index} is {found}, not {right}"
        if not np.allclose(ours, theirs, rtol=case.rtol, atol=case.atol, equal_nan=True):
            with np.errstate(all="ignore"):
                off = np.nanmax(np.abs(ours.astype("float64") - theirs.astype("float64")))
            return "wrong", f"output {index} is off by {off:.3g}"
    return "right", ""


def preload() -> None:
    """Import what every case needs, once."""
    import tvm
    import tvm.relax.frontend.onnx  # noqa: F401

    assert sys.modules["edgekiln.compiler.stages.compile"]
