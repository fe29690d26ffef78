"""The work on one cell, in a process of its own: build it, check it, measure it."""

import os
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekiln.compiler import doctor, origin
from edgekiln.compiler.build import Request, build
from edgekiln.compiler.ci.matrix import Cell
from edgekiln.compiler.ci.result import Bench, CellResult, Check, Failure
from edgekiln.compiler.progress import lines
from edgekiln.compiler.result import Latency
from edgekiln.compiler.shared import open_store
from edgekiln.runtime.bench import compare
from edgekiln.runtime.errors import BundleError, EdgeKilnError, InputError, MissingToolError
from edgekiln.runtime.program import check_example

if TYPE_CHECKING:
    from edgekiln.compiler.verify import Gap
    from edgekiln.runtime.results import BenchResult

SAMPLES = 8  # compared with ONNX Runtime, layer by layer

Doing = Literal["build", "check", "bench"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell, and the directory its bundle lies in, or will."""

    cell: Cell
    out: Path
    root: Path  # of the machine's own store
    store: str = ""  # URL of the one behind it

    @property
    def bundle(self) -> Path:
        return self.out / self.cell.bundle


def empty(cell: Cell) -> CellResult:
    return CellResult(
        id=cell.id,
        name=cell.name,
        model=cell.model,
        target=cell.target.name,
        precision=cell.precision,
    )


def make(task: Task) -> CellResult:
    """Build the bundle and check it. What goes wrong is in the result."""
    _use_store(task)
    result = empty(task.cell)
    doing: Doing = "build"
    try:
        result = _build(task, result)
        doing = "check"
        return replace(result, check=_check(task))
    except Exception as error:  # one broken cell must not hide the others
        task.bundle.unlink(missing_ok=True)  # what computes something else must not be shipped
        return replace(result, bundle="", failure=failure_of(error, doing, task.out))


def measure(task: Task, result: CellResult) -> CellResult:
    """Add the latency, or why there is none."""
    _use_store(task)
    try:
        return _bench(task, result)
    except Exception as error:
        return replace(result, failure=failure_of(error, "bench", task.out))


def _use_store(task: Task) -> None:
    """The parent's: a relative path in its environment would be another one in this directory."""
    os.environ["EDGEKILN_STORE"] = str(task.root)


def failure_of(error: Exception, doing: Doing, out: Path) -> Failure:
    """The user's errors in their own words; ours with the traceback, which is printed."""
    if isinstance(error, EdgeKilnError):
        message = _lasting(error.message, out)
        return Failure(doing=doing, message=message, hint=error.hint, exit_code=error.exit_code)
    traceback.print_exception(error)
    return Failure(
        doing=doing,
        message=f"{type(error).__name__}: {error}",
        hint="this is a bug of EdgeKiln: report it with the traceback in the log",
        exit_code=1,
    )


def _lasting(message: str, out: Path) -> str:
    """Without the name of a directory that will have another one."""
    return message.replace(f"{out}/", "")


def _build(task: Task, result: CellResult) -> CellResult:
    cell, aside = task.cell, task.out / f".{task.cell.bundle}"
    request = Request(
        model=cell.model, targets=(cell.target,), recipe=cell.recipe, out=aside, trial_s=0
    )
    built = build(request, open_store(task.store), lambda label: lines(f"{cell.id}: {label}"))
    (target,) = built.targets
    Path(target.bundle).replace(task.bundle)
    aside.rmdir()
    named = replace(target, bundle=cell.bundle, unmeasured="")
    return replace(result, bundle=cell.bundle, build=replace(built, targets=(named,)))


def _check(task: Task) -> Check:
    """Raises MismatchError when the program does not compute what it should."""
    if reason := doctor.foreign(task.cell.target):
        return _emulated(task, reason)
    equal = tuple(check_example(task.bundle))
    try:
        samples, layers = _against_onnxruntime(task)
    except InputError as error:  # e.g. a program with two inputs
        return Check(where="host", equal=equal, unverified=_lasting(error.message, task.out))
    return Check(where="host", equal=equal, samples=samples, layers=layers)


def _emulated(task: Task, reason: str) -> Check:
    """Right results, no latencies. Raises MismatchError."""
    from edgekiln.runtime.device.example import check_example as check_on
    from edgekiln.runtime.device.qemu import QemuDevice

    try:
        with QemuDevice() as device:
            equal = check_on(task.bundle, device)
    except (BundleError, MissingToolError) as error:
        why = _lasting(error.message, task.out)
        return Check(where="nowhere", reason=f"{reason}; not emulated: {why}")
    return Check(where="emulator", reason=reason, equal=equal, unverified="emulated")


def _against_onnxruntime(task: Task) -> "tuple[int, tuple[Gap, ...]]":
    from edgekiln.compiler import chain
    from edgekiln.compiler.verify import verify
    from edgekiln.runtime.runner import AotRunner

    spec = AotRunner.open(task.bundle).spec
    model = origin.int8_model(spec)
    recipe = task.cell.recipe
    batches = chain.batches_for(spec, model, data=recipe.data, seed=recipe.seed, samples=SAMPLES)
    result = verify(task.bundle, model, batches)
    result.check()
    return result.samples, result.layers


def _bench(task: Task, result: CellResult) -> CellResult:
    if reason := doctor.foreign(task.cell.target):
        return replace(result, unmeasured=reason, energy_unmeasured=reason)
    if not task.cell.bench_seconds:
        reason = "bench-seconds = 0"
        return replace(result, unmeasured=reason, energy_unmeasured=reason)
    ours, *others = compare(
        task.bundle,
        origin.models_of(task.bundle),
        min_seconds=task.cell.bench_seconds,
        profile=True,
        power=task.cell.target.meter,
    )
    bench = Bench(
        threads=ours.threads,
        median_s=ours.median_s,
        p90_s=ours.p90_s,
        spread=ours.spread,
        trial_medians_s=tuple(trial.median_s for trial in ours.trials),
        warnings=ours.warnings,
        layers=ours.layers,
        peers=tuple(_peer(each, ours.median_s) for each in others),
    )
    return replace(
        result, bench=bench, energy=ours.energy, energy_unmeasured=ours.energy_unavailable
    )


def _peer(result: "BenchResult", ours_s: float) -> Latency:
    return Latency(
        engine=f"{result.engine} {result.precision}",
        threads=result.threads,
        median_s=result.median_s,
        p90_s=result.p90_s,
        spread=result.spread,
        ratio=result.median_s / ours_s,
        warnings=result.warnings,
    )
