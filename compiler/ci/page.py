"""`report.html`: one file without anything from elsewhere, for people who want to see it all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

from edgekiln.compiler.ci import curves
from edgekiln.compiler.ci.result import CiResult, JobResult
from edgekiln.compiler.quantization.ladder_record import Ladder
from edgekiln.runtime.text import counted, human_bytes, microseconds

# A quantity over several results: its name, its values, and how one is shown.
Values = tuple[str, Sequence[float | None], Callable[[float], str]]
CHART = (300, 60)  # width and height of a history's line, in its own units


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row of a bar chart, which is a table: start and length are percents of the whole."""

    name: str
    text: str
    length: float
    start: float = 0.0
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One quantity over earlier results, oldest first."""

    name: str
    values: tuple[str, ...]
    points: str  # of an SVG polyline


def page(results: Sequence[CiResult]) -> str:
    """The page's text: the first of `results` in full, the others, newest first, as its history."""
    from jinja2 import Environment, StrictUndefined

    # Escaped: names are the users' models'. Strict: a name that is misspelt is an error and no gap.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., object]] = {
        "bytes": human_bytes,
        "counted": counted,
        "micro": microseconds,
        "percent": "{:.2%}".format,
        "stages": stage_bars,
        "layers": layer_bars,
        "sizes": size_bars,
        "trainings": curves.trainings,
        "ladder": ladder_of,
        "sensitivity": sensitivity_bars,
    }
    environment.filters.update(filters)
    source = resources.files("edgekiln.compiler.ci").joinpath("templates/report.html.j2")
    template = environment.from_string(source.read_text(encoding="utf-8"))
    result = results[0]
    machine = next((job.build.machine for job in result.jobs if job.build), None)
    failed = {verdict.job for verdict in result.verdicts if verdict.failed}
    failed |= {job.id for job in result.jobs if job.failure}
    history = {job.id: lines(job.id, results) for job in result.jobs}
    return template.render(
        result=result, machine=machine, failed=failed, history=history, chart=CHART,
        canvas=(curves.WIDTH, curves.HEIGHT), axes=curves.axes(),
    )  # fmt: skip


def stage_bars(job: JobResult) -> list[Bar]:
    """When each stage ran, one after the other, by how long making each artifact once took."""
    steps = job.build.steps if job.build else ()
    total_s = sum(step.wall_s for step in steps) or 1.0
    bars, start_s = [], 0.0
    for step in steps:
        bars.append(
            Bar(
                name=step.stage,
                text=f"{step.wall_s:.1f} s" + (", found in the store" if step.cached else ""),
                # Percents, for the template's styles.
                start=100 * start_s / total_s,
                length=100 * step.wall_s / total_s,
                detail=step.sha256,
            )
        )
        start_s += step.wall_s
    return bars


def layer_bars(job: JobResult) -> list[Bar]:
    """Where the time goes: each layer's share of the sum."""
    layers = job.bench.layers if job.bench else ()
    total_s = sum(layer.latency_s for layer in layers) or 1.0
    return [
        Bar(
            name=layer.name,
            text=f"{layer.latency_s * 1e6:,.2f} µs",
            length=100 * layer.latency_s / total_s,
            detail=layer.op + ("" if layer.integer else ", float"),
        )
        for layer in layers
    ]


def ladder_of(job: JobResult) -> Ladder | None:
    """What accuracy control did, where a limit was set."""
    ladders = [step.ladder for step in (job.build.steps if job.build else ()) if step.ladder]
    return ladders[-1] if ladders else None


def sensitivity_bars(ladder: Ladder) -> list[Bar]:
    """Each layer's share of the noise that all layers make, each of them alone."""
    noise = [10.0 ** (-layer.sqnr_db / 10.0) for layer in ladder.sensitivity]
    total = sum(noise) or 1.0
    return [
        Bar(
            name=layer.name,
            text=f"{layer.sqnr_db:.1f} dB",
            length=100 * own / total,
            detail=layer.op,
        )
        for layer, own in zip(ladder.sensitivity, noise, strict=True)
    ]


def size_bars(job: JobResult) -> list[Bar]:
    """Where the bytes are. The arena is working memory, the others are in the program."""
    if job.build is None:
        return []
    (target,) = job.build.targets
    sizes = {
        "code": target.code_bytes,
        "weights": target.weights_bytes,
        "arena": target.arena_bytes,
    }
    most = max(*sizes.values(), 1)
    return [
        Bar(name=name, text=human_bytes(size), length=100 * size / most, detail=f"{size:,} bytes")
        for name, size in sizes.items()
    ]


def lines(job_id: str, results: Sequence[CiResult]) -> list[Line]:
    """Score, latency and size of a job over all results that have it; none if only one has."""
    jobs = [job for result in reversed(results) if (job := result.job(job_id))]
    kinds: tuple[Values, ...] = (
        *_scores(jobs),
        ("latency, µs", [job.latency_s for job in jobs], microseconds),
        ("code and weights", [job.program_bytes for job in jobs], "{:,} bytes".format),
    )
    found = []
    for name, values, shown in kinds:
        known = [value for value in values if value is not None]
        if len(known) > 1:
            texts = tuple(shown(value) for value in known)
            found.append(Line(name=name, values=texts, points=_points(known)))
    return found


def _scores(jobs: Sequence[JobResult]) -> list[Values]:
    """The scores that the newest result has, of as many samples."""
    newest = next((job.scores for job in reversed(jobs) if job.scores), ())
    found: list[Values] = []
    for score in newest:
        values = [
            next((e.value for e in job.scores if (e.label, e.n) == (score.label, score.n)), None)
            for job in jobs
        ]
        if score.is_agreement:
            found.append(("SQNR against the float model", values, "{:.1f} dB".format))
        else:
            found.append((score.heading, values, score.kind.shown))
    return found


def _points(values: Sequence[float]) -> str:
    """The line's points, evenly spaced, the largest value at the top; equal ones in the middle."""
    width, height = CHART
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    shift = 0.5 if high == low else 0.0
    across = width / (len(values) - 1)
    return " ".join(
        f"{across * index:.1f},{height * (1 - shift - (value - low) / span):.1f}"
        for index, value in enumerate(values)
    )
