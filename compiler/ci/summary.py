"""`summary.md`: what a pull request's comment should say."""

from collections.abc import Callable, Iterator

from edgekiln.compiler.ci.noise import change, incomparable
from edgekiln.compiler.ci.result import CellResult, CiResult
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.text import counted, human_bytes

LIMIT = 60_000  # characters; GitHub cuts comments at 65,536
LONGEST = 40  # rows of a table
SAME = "="


def summary(result: CiResult, baseline: CiResult | None) -> str:
    """Markdown. Failures first, then a row a cell, then what was inside the noise or skipped."""
    lines = [f"### EdgeKiln: {_headline(result)}", ""]
    if failures := [*_failures(result)]:
        lines += [*failures, ""]
    lines += ["| | cell | accuracy | latency | program | arena |", "|-|-|-:|-:|-:|-:|"]
    for cell in result.cells[:LONGEST]:
        lines.append(_row(cell, baseline.cell(cell.id) if baseline else None, result))
    if (more := len(result.cells) - LONGEST) > 0:
        lines += ["", f"and {more} more cells, in `report.html`"]
    lines += ["", *_legend(result, baseline), *_remarks(result)]
    text = "\n".join(lines) + "\n"
    return text if len(text) <= LIMIT else text[:LIMIT].rpartition("\n")[0] + "\n…\n"


def _headline(result: CiResult) -> str:
    broken = sum(cell.failure is not None for cell in result.cells)
    failed = sum(verdict.failed for verdict in result.verdicts)
    count = counted(len(result.cells), "bundle")
    wrong = [f"{broken} failed"] if broken else []
    wrong += [f"{counted(failed, 'gate')} missed"] if failed else []
    if wrong:
        return f"{count}, **{', '.join(wrong)}**"
    judged = sum(verdict.status != "skip" for verdict in result.verdicts)
    return f"{count}, {counted(judged, 'gate')} passed"


def _failures(result: CiResult) -> Iterator[str]:
    for cell in result.cells:
        if cell.failure:
            yield f"- ❌ `{cell.id}` {cell.failure.doing}: {_escaped(cell.failure.message)}"
    for verdict in result.verdicts:
        if verdict.failed:
            yield f"- ❌ `{verdict.cell}` {verdict.gate}: {_escaped(verdict.message)}"


def _row(cell: CellResult, before: CellResult | None, result: CiResult) -> str:
    bad = cell.failure or any(v.failed for v in result.verdicts if v.cell == cell.id)
    cells = [
        "❌" if bad else "✅",
        f"`{cell.id}`",
        _accuracy(cell, before),
        _latency(cell, before),
        _size(cell, before, lambda each: each.program_bytes),
        _size(cell, before, lambda each: each.arena_bytes),
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(cell: CellResult, before: CellResult | None) -> str:
    if cell.score is None:
        return "–"
    text = f"{cell.score.value:.2%}"
    earlier = before.score if before else None
    if earlier is None:
        return text
    points = 100 * (cell.score.value - earlier.value)
    return f"{text} {SAME}" if not points else f"{text} {_arrow(points)} {points:+.2f} pp"


def _latency(cell: CellResult, before: CellResult | None) -> str:
    if cell.bench is None:
        return "–"
    text = f"{cell.bench.median_s * 1e6:,.1f} µs"
    if cell.bench.device != LOCAL:
        text += f" on {_escaped(cell.bench.device)}"
    if before is None or before.bench is None:
        return text
    if incomparable(before.bench.machine, cell.bench.machine):
        return text
    found = change(before.bench, cell.bench)
    if not found.significant:
        return f"{text} ≈"
    return f"{text} {_arrow(found.slowdown)} {found.slowdown:+.1%}"


def _size(
    cell: CellResult, before: CellResult | None, size: Callable[[CellResult], int | None]
) -> str:
    now, earlier = size(cell), size(before) if before else None
    if now is None:
        return "–"
    text = human_bytes(now)
    if earlier is None:
        return text
    if now == earlier:
        return f"{text} {SAME}"
    share = f"{now / earlier - 1:+.1%}" if earlier else f"+{now - earlier} B"
    return f"{text} {_arrow(now - earlier)} {share}"


def _arrow(difference: float) -> str:
    return "▲" if difference > 0 else "▼"


def _legend(result: CiResult, baseline: CiResult | None) -> Iterator[str]:
    old = sum(cell.bench is not None and cell.bench.remembered for cell in result.cells)
    if old:
        yield (
            f"{counted(old, 'latency figure')} of an earlier run, of the same bytes on the same "
            "machine: `--remeasure` measures again."
        )
    if baseline is None:
        yield "No baseline: nothing to compare with."
        return
    yield f"Against `{result.baseline}`. ≈: inside the noise of both measurements; {SAME}: equal."
    known = {*(cell.id for cell in result.cells), *result.left_out}
    gone = [cell.id for cell in baseline.cells if cell.id not in known]
    if gone:
        yield f"Only in the baseline: {', '.join(f'`{cell}`' for cell in gone)}."


def _remarks(result: CiResult) -> Iterator[str]:
    """What was not judged, folded away; and where a program did not run."""
    quiet = [verdict for verdict in result.verdicts if verdict.status in ("noise", "skip")]
    unrun = [cell for cell in result.cells if cell.check and cell.check.where == "nowhere"]
    if not quiet and not unrun:
        return
    yield from ("", "<details><summary>Not judged, and not run</summary>", "")
    for cell in unrun[:LONGEST]:
        assert cell.check is not None
        yield f"- `{cell.id}` was not run: {_escaped(cell.check.reason)}"
    for verdict in quiet[:LONGEST]:
        yield f"- `{verdict.cell}` {verdict.gate}: {_escaped(verdict.message)}"
    yield from ("", "</details>")


def _escaped(text: str) -> str:
    """Messages hold names from models, which must not become markup."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
