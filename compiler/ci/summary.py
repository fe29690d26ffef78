"""`summary.md`: what a pull request's comment should say."""

from collections.abc import Callable, Iterator

from edgekiln.compiler.ci.noise import change, incomparable
from edgekiln.compiler.ci.result import CiResult, JobResult
from edgekiln.compiler.packaging.report import Score
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.text import counted, human_bytes, microseconds

LIMIT = 60_000  # characters; GitHub cuts comments at 65,536
LONGEST = 40  # rows of a table
SAME = "="


def summary(result: CiResult, baseline: CiResult | None) -> str:
    """The Markdown: failures, then a row a job, then what was inside the noise or skipped."""
    lines = [f"### EdgeKiln: {_headline(result)}", ""]
    if failures := [*_failures(result)]:
        lines += [*failures, ""]
    lines += [
        f"| | job | {_heading(result)} | n | latency | program | arena |",
        "|-|-|-:|-:|-:|-:|-:|",
    ]
    for job in result.jobs[:LONGEST]:
        lines.append(_row(job, baseline.job(job.id) if baseline else None, result))
    if (more := len(result.jobs) - LONGEST) > 0:
        lines += ["", f"and {more} more jobs, in `report.html`"]
    lines += ["", *_legend(result, baseline), *_remarks(result)]
    text = "\n".join(lines) + "\n"
    # Cut at the end of a line, so that no markup stays open in the middle of one.
    return text if len(text) <= LIMIT else text[:LIMIT].rpartition("\n")[0] + "\n…\n"


def _headline(result: CiResult) -> str:
    broken = sum(job.failure is not None for job in result.jobs)
    failed = sum(verdict.failed for verdict in result.verdicts)
    count = counted(len(result.jobs), "bundle")
    wrong = [f"{broken} failed"] if broken else []
    wrong += [f"{counted(failed, 'gate')} missed"] if failed else []
    if wrong:
        return f"{count}, **{', '.join(wrong)}**"
    judged = sum(verdict.status != "skip" for verdict in result.verdicts)
    return f"{count}, {counted(judged, 'gate')} passed"


def _failures(result: CiResult) -> Iterator[str]:
    for job in result.jobs:
        if job.failure:
            yield f"- ❌ `{job.id}` {job.failure.doing}: {_escaped(job.failure.message)}"
    for verdict in result.verdicts:
        if verdict.failed:
            yield f"- ❌ `{verdict.job}` {verdict.gate}: {_escaped(verdict.message)}"


def _row(job: JobResult, before: JobResult | None, result: CiResult) -> str:
    bad = job.failure or any(v.failed for v in result.verdicts if v.job == job.id)
    jobs = [
        "❌" if bad else "✅",
        f"`{job.id}`",
        _scores(job, before, result),
        job.score.samples if job.score else "–",
        _latency(job, before),
        _size(job, before, lambda each: each.program_bytes),
        _size(job, before, lambda each: each.arena_bytes),
    ]
    return f"| {' | '.join(jobs)} |"


def _heading(result: CiResult) -> str:
    """The metric, where all jobs have one and the same."""
    headings = {each.heading for job in result.jobs for each in job.scores if not each.is_agreement}
    return headings.pop() if len(headings) == 1 else "score" if headings else "accuracy"


def _scores(job: JobResult, before: JobResult | None, result: CiResult) -> str:
    alone = _heading(result) != "score"
    texts = [_score(each, before.scores if before else ()) for each in job.scores]
    if not alone:
        texts = [
            text if each.is_agreement else f"{each.label} {text}"
            for each, text in zip(job.scores, texts, strict=True)
        ]
    return "<br>".join(texts) or "–"


def _score(score: Score, before: tuple[Score, ...]) -> str:
    text = f"SQNR {score}" if score.is_agreement else str(score)
    earlier = next((each for each in before if each.label == score.label), None)
    if earlier is None:
        return text
    if earlier.n != score.n:  # percent of other samples are other percent
        return f"{text}, was of {earlier.samples}"
    change = score.value - earlier.value
    if not change:
        return f"{text} {SAME}"
    if score.is_agreement:
        return f"{text} {_arrow(change)} {change:+.1f} dB"
    if score.share:
        return f"{text} {_arrow(change)} {100 * change:+.2f} pp"
    return f"{text} {_arrow(change)} {100 * change / abs(earlier.value or 1):+.1f}%"


def _latency(job: JobResult, before: JobResult | None) -> str:
    if job.bench is None:
        return "–"
    text = f"{microseconds(job.bench.median_s)} µs"
    if job.bench.device != LOCAL:
        text += f" on {_escaped(job.bench.device)}"
    if before is None or before.bench is None:
        return text
    if incomparable(before.bench.machine, job.bench.machine):
        return text
    found = change(before.bench, job.bench)
    if not found.significant:
        return f"{text} ≈"
    return f"{text} {_arrow(found.slowdown)} {found.slowdown:+.1%}"


def _size(job: JobResult, before: JobResult | None, size: Callable[[JobResult], int | None]) -> str:
    now, earlier = size(job), size(before) if before else None
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
    old = sum(job.bench is not None and job.bench.remembered for job in result.jobs)
    if old:
        yield (
            f"{counted(old, 'latency figure')} of an earlier run, of the same bytes on the same "
            "machine: `--remeasure` measures again."
        )
    if baseline is None:
        yield "No baseline: nothing to compare with."
        return
    yield f"Against `{result.baseline}`. ≈: inside the noise of both measurements; {SAME}: equal."
    known = {*(job.id for job in result.jobs), *result.left_out}
    gone = [job.id for job in baseline.jobs if job.id not in known]
    if gone:
        yield f"Only in the baseline: {', '.join(f'`{job}`' for job in gone)}."


def _remarks(result: CiResult) -> Iterator[str]:
    """The lines, folded away, on what was not judged and which programs did not run."""
    quiet = [verdict for verdict in result.verdicts if verdict.status in ("noise", "skip")]
    unrun = [job for job in result.jobs if job.check and job.check.where == "nowhere"]
    if not quiet and not unrun:
        return
    yield from ("", "<details><summary>Not judged, and not run</summary>", "")
    for job in unrun[:LONGEST]:
        assert job.check is not None
        yield f"- `{job.id}` was not run: {_escaped(job.check.reason)}"
    for verdict in quiet[:LONGEST]:
        yield f"- `{verdict.job}` {verdict.gate}: {_escaped(verdict.message)}"
    yield from ("", "</details>")


def _escaped(text: str) -> str:
    """The text with its markup disarmed: messages hold names from models."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
