"""The build's result as tables for people."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.build.result import BuildResult, DropPrice, Step, TargetResult
from edgekiln.compiler.evaluation.latency import Latency
from edgekiln.runtime.text import counted, footprint_lines, human_bytes, microseconds
from edgekiln.targets.profile import HOST

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST_LIST = 8  # float operations shown; the JSON holds all


def show(result: BuildResult, console: "Console") -> None:
    """Print the stages, then for each target the latencies, what stayed float, and the bundle."""
    other = result.calibrate not in ("", result.data)
    calibrate = f"  calibrate {result.calibrate}" if other else ""
    settings = f"data {result.data or '-'}{calibrate}  seed {result.seed}  {result.precision}"
    console.print(f"{result.model}  {settings}", style="bold")
    machine = result.machine
    console.print(f"on {machine.cpu}, {machine.cores} cores", highlight=False)
    console.print(_stages(result))
    for reason, stages in _unscored(result).items():
        names = " and ".join(_labels(result)) or "accuracy"
        what = "agreement" if _is_agreement(result) else names
        line = f"{what} not measured of {', '.join(stages)}: {reason}"
        console.print(line, highlight=False, soft_wrap=True)
    for step in result.steps:
        # The compile stage's notes are the float operations, which are listed with their target.
        notes = () if step.stage == "compile" else step.notes
        _notes(step.stage, (*notes, *([step.remark] if step.remark else [])), console)
    for target in result.targets:
        _target(target, result.precision, console)
    for line in _next(result):
        console.print(line, highlight=False, soft_wrap=True)


def _notes(stage: str, notes: Iterable[str], console: "Console") -> None:
    for note in notes:
        console.print(f"note: {stage}: {note}", style="dim", highlight=False, soft_wrap=True)


def _stages(result: BuildResult) -> "Table":
    from rich.table import Table

    agreement = _is_agreement(result)
    labels = _labels(result)
    headings = [*labels.values()] or ["accuracy"]
    if agreement:
        headings = ["SQNR", "top-1", "cosine"]
    title = "agreement with the float model, on samples without labels" if agreement else None
    table = Table(title=title)
    table.add_column("stage")
    # Of a wider table a terminal of 80 columns cuts the words.
    parameters = () if agreement or len(labels) > 1 else ("parameters",)
    for name in (*headings, "n", *parameters, "MACs", "bytes", "time"):
        table.add_column(name, justify="right")
    for step in result.steps:
        table.add_row(*_row(step, [*labels] or [""], agreement))
    return table


def _labels(result: BuildResult) -> dict[str, str]:
    """The label of each score that any row has → its heading."""
    return {score.label: score.heading for step in result.steps for score in step.scores}


def _is_agreement(result: BuildResult) -> bool:
    """Whether models are held against the float one, for want of labels."""
    return any(step.score and step.score.is_agreement for step in result.steps)


def _unscored(result: BuildResult) -> dict[str, list[str]]:
    """The rows without a score, by the reason."""
    found: dict[str, list[str]] = {}
    for step in result.steps:
        if step.unscored:
            found.setdefault(step.unscored, []).append(_label(step))
    return found


def _label(step: Step) -> str:
    return f"{step.stage} {step.target}".strip()


def _row(step: Step, labels: Sequence[str], agreement: bool) -> tuple[str, ...]:
    found = {score.label: str(score) for score in step.scores}
    scores, samples = [found.get(label, "-") for label in labels], "-"
    if agreement:
        scores = ["-"] * 3
    if step.score:
        if agreement:
            scores = [str(step.score)]
            same, cosine = step.score.top1_agreement, step.score.cosine
            scores.append("-" if same is None else f"{same:.2%}")
            scores.append("-" if cosine is None else f"{cosine:.5f}")
        samples = step.score.samples
    return (
        _label(step),
        *scores,
        samples,
        *(() if agreement or len(labels) > 1 else (_count(step.parameters),)),
        _count(step.macs),
        f"{step.file_bytes:,}",
        "cached" if step.cached else f"{step.wall_s:.1f} s",
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _target(target: TargetResult, precision: str, console: "Console") -> None:
    detected = f" (by {target.base})" if target.target == HOST else ""
    console.print(f"\n{target.target}{detected}", style="bold")
    if target.latencies:
        console.print(_latencies(target.latencies))
        for warning in dict.fromkeys(w for row in target.latencies for w in row.warnings):
            console.print(f"warning: {warning}", style="yellow", highlight=False)
    else:
        console.print(f"latency not measured: {target.unmeasured}", highlight=False)
    sizes = ", ".join(
        f"{name} {human_bytes(count)}"
        for name, count in (
            ("code", target.code_bytes),
            ("weights", target.weights_bytes),
            ("arena", target.arena_bytes),
        )
    )
    console.print(f"program: {sizes}", highlight=False)
    for line in footprint_lines(target.footprint):
        console.print(line, highlight=False, soft_wrap=True)
    if target.price is not None:
        console.print(_price(target.price), highlight=False, soft_wrap=True)
    console.print(_float_ops(target, precision), highlight=False)
    _notes("package", target.notes, console)
    console.print(
        f"bundle: {target.bundle} ({human_bytes(target.bundle_bytes)})",
        highlight=False,
        soft_wrap=True,
    )


def _price(price: DropPrice) -> str:
    """What the limit cost, against the program without it."""
    kinds = (
        (price.float_layers, "in float"), (price.wide_layers, "in 16 bits"),
        (price.whole_layers, "with weights of 8 bits"),
    )  # fmt: skip
    layers = " and ".join(f"{counted(len(each), 'layer')} {how}" for each, how in kinds if each)
    paid = [f"{price.bytes - price.plain_bytes:+,} bytes"]
    if price.median_s is not None and price.plain_median_s is not None:
        more_s = price.median_s - price.plain_median_s
        share = more_s / price.plain_median_s
        paid.insert(0, f"{more_s * 1e6:+,.1f} µs ({share:+.0%})")
    return f"price of the limit: {layers}, {', '.join(paid)}"


def _latencies(rows: tuple[Latency, ...]) -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column("engine")
    for name in ("threads", "median µs", "p90 µs", "spread", "× ours"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.engine,
            str(row.threads),
            microseconds(row.median_s),
            microseconds(row.p90_s),
            f"{row.spread:.1%}",
            f"{row.ratio:.2f}",
        )
    return table


def _float_ops(target: TargetResult, precision: str) -> str:
    what = "float operations" if precision == "int8" else "operations without a float32 kernel"
    if not target.float_ops:
        return f"{what}: none of {target.layers}"
    lines = [f"{what}: {len(target.float_ops)} of {target.layers}"]
    lines += [f"  {op.op} {op.name}: {op.reason}" for op in target.float_ops[:LONGEST_LIST]]
    if (more := len(target.float_ops) - LONGEST_LIST) > 0:
        lines.append(f"  and {more} more (--json lists them)")
    return "\n".join(lines)


def _next(result: BuildResult) -> Iterator[str]:
    """The commands to try next, for the first bundle that runs here."""
    measured = [target.bundle for target in result.targets if target.latencies]
    if measured:
        yield ""
        yield f"next: edgekiln bench {measured[0]}"
        yield f"      edgekiln verify {measured[0]}"
