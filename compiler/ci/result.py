"""What a run tells: `results.json`, versioned, and the base of the next run's comparison."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekiln.compiler.build.result import BuildResult
from edgekiln.compiler.packaging.report import AGREEMENT, Score
from edgekiln.compiler.stages.bench import Bench
from edgekiln.compiler.stages.check import BundleCheck
from edgekiln.runtime import codec
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import read_regular, reading_hint
from edgekiln.runtime.power.energy import Energy

SCHEMA = "edgekiln.ci/4"
_EARLIER = "edgekiln.ci/2"  # jobs are called cells there
_BEFORE_TASKS = "edgekiln.ci/3"  # scores are accuracies, AUCs and agreements there
RESULTS = "results.json"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job has no bundle, or one that must not be used."""

    doing: Literal["build", "check", "bench", "lock"]
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What became of one job."""

    id: str
    name: str
    model: str
    target: str
    precision: str
    bundle: str = ""  # file name; "" without one
    build: BuildResult | None = None
    check: BundleCheck | None = None
    bench: Bench | None = None
    unmeasured: str = ""  # why there is no latency
    energy: Energy | None = None
    energy_unmeasured: str = ""
    failure: Failure | None = None

    @property
    def score(self) -> Score | None:
        """The program's accuracy; where it does not run, that of the model that it equals."""
        steps = self.build.steps if self.build else ()
        # From the last stage back: the nearer to the program, the better.
        return next((step.score for step in reversed(steps) if step.score), None)

    @property
    def scores(self) -> tuple[Score, ...]:
        """All scores of the stage that `score` is of."""
        steps = self.build.steps if self.build else ()
        return next((step.scores for step in reversed(steps) if step.score), ())

    @property
    def sqnr_db(self) -> float | None:
        """The signal that is left against the float model, dB: of the program, on samples without
        labels; else of the int8 model. None where neither was measured.
        """
        if self.score and self.score.is_agreement:
            return self.score.value
        steps = self.build.steps if self.build else ()
        return next((step.metrics["sqnr_db"] for step in steps if "sqnr_db" in step.metrics), None)

    @property
    def program_bytes(self) -> int | None:
        """Code and weights; None without a bundle."""
        if self.build is None:
            return None
        return self.build.targets[0].code_bytes + self.build.targets[0].weights_bytes

    @property
    def arena_bytes(self) -> int | None:
        """Working memory; None without a bundle."""
        return self.build.targets[0].arena_bytes if self.build else None

    @property
    def latency_s(self) -> float | None:
        """The median of one inference; None where none was measured."""
        return self.bench.median_s if self.bench else None

    @property
    def energy_j(self) -> float | None:
        """The gross energy of one inference, joules."""
        return self.energy.gross_j if self.energy else None


Status = Literal["pass", "noise", "skip", "fail"]


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """What one gate says of one job."""

    job: str
    gate: str
    status: Status  # "noise": over the limit, but not beyond what repeating alone would do
    message: str
    exit_code: int = 0  # of a failure

    @property
    def failed(self) -> bool:
        """Whether the run fails by it."""
        return self.status == "fail"


@dataclass(frozen=True, kw_only=True)
class CiResult:
    """What a whole run found."""

    config: str
    baseline: str  # "" without one
    jobs: tuple[JobResult, ...]
    verdicts: tuple[GateVerdict, ...]
    left_out: tuple[str, ...] = ()  # jobs that are configured, and not of this run

    def job(self, job_id: str) -> JobResult | None:
        """The job of this name, if it is of this run."""
        return next((job for job in self.jobs if job.id == job_id), None)


def text_of(result: CiResult) -> str:
    """The content of a `results.json`."""
    return codec.to_json(result, SCHEMA)


def exit_code(result: CiResult) -> int:
    """The code of what is wrong, or 0. A broken job goes before a gate, then the file's order."""
    broken = [job.failure.exit_code for job in result.jobs if job.failure]
    return next(iter([*broken, *(v.exit_code for v in result.verdicts if v.failed)]), 0)


def read(path: Path) -> CiResult:
    """Read a `results.json`, by its path or that of its directory. Raises InputError."""
    path = path / RESULTS if path.is_dir() else path
    try:
        text = read_regular(path)
    except OSError as error:
        hint = reading_hint(error, "give a directory that `edgekiln ci` wrote")
        raise InputError(f"{path}: {error.strerror}", hint) from error
    return parse(text, str(path))


def parse(text: str | bytes, where: str) -> CiResult:
    """Parse what `text_of` wrote; `where` names it in errors. Raises InputError."""
    try:
        data: object = codec.loads(text)
        # Taken out, for it is no field of the result.
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if schema in (_EARLIER, _BEFORE_TASKS):
            data = _upgraded(data, schema)
        elif schema != SCHEMA:
            raise codec.CodecError(f"schema {schema!r}, this EdgeKiln reads {SCHEMA!r}")
        found = codec.decode(CiResult, data)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{where}: not results of a run: {error}", "make them again with this version"
        ) from error
    if fault := next(_impossible(found), None):
        raise InputError(f"{where}: not results of a run: {fault}", "take them from the run itself")
    return found


def _impossible(result: CiResult) -> Iterator[str]:
    """What no run finds, and later code need not look for again, in words."""
    ids = [job.id for job in result.jobs]
    if doubled := {job_id for job_id in ids if ids.count(job_id) > 1}:
        yield f"job {min(doubled)!r} is there twice"
    for job in result.jobs:
        scores = (score for step in (job.build.steps if job.build else ()) for score in step.scores)
        for score in scores:
            if fault := score.fault:
                yield f"job {job.id!r}: {fault}"
        # It is copied to and from folders: a path would lead out of them.
        if job.bundle and ("/" in job.bundle or job.bundle in (".", "..") or "\0" in job.bundle):
            yield f"job {job.id!r}: bundle {job.bundle!r} is no file beside the results"
        if job.build is not None and not job.build.targets:
            yield f"job {job.id!r}: was built for no target"
        if job.bench is not None and (job.bench.median_s <= 0 or job.bench.spread < 0):
            yield f"job {job.id!r}: has a latency that is not above 0"


def _upgraded(data: Any, schema: str) -> object:  # JSON of which nothing is known
    """Results of an earlier schema as those of this one. Raises KeyError, TypeError.

    Their scores say nothing of the metric but its name.
    """
    if schema == _EARLIER:
        verdicts = [{**verdict, "job": verdict["cell"]} for verdict in data["verdicts"]]
        plain = [{k: v for k, v in verdict.items() if k != "cell"} for verdict in verdicts]
        rest = {key: value for key, value in data.items() if key not in ("cells", "verdicts")}
        data = {**rest, "jobs": data["cells"], "verdicts": plain}
    kinds = {"accuracy": ("%", True), "auc": ("", True), AGREEMENT: ("dB", False)}
    for job in data["jobs"]:
        for step in (job["build"] or {"steps": ()})["steps"]:
            step["further_scores"] = []
            if score := step["score"]:
                unit, share = kinds[score["metric"]]
                score |= {"unit": unit, "share": share, "better": "higher", "head": ""}
    return data
