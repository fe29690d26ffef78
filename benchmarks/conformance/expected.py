"""What is known to become of each case: the committed list, `expected.json`."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.benchmarks.conformance.trial import Result
from edgekiln.benchmarks.isolated import BAD, Verdict

FILE = Path(__file__).parent / "expected.json"

Key = tuple[str, str]  # form and name of a case


@dataclass(frozen=True, kw_only=True)
class Expected:
    verdict: Verdict
    reason: str = ""  # empty for what is right


def read(file: Path = FILE) -> dict[Key, Expected]:
    """The list. In the file: form → verdict → reason → names of cases."""
    if not file.exists():
        return {}
    listed = json.loads(file.read_text(encoding="utf-8"))
    return {
        (form, name): Expected(verdict=verdict, reason=reason)
        for form, verdicts in listed.items()
        for verdict, reasons in verdicts.items()
        for reason, names in reasons.items()
        for name in names
    }


def update(results: Iterable[Result], file: Path = FILE) -> None:
    """Replace the entries of the cases that were run; others stay as they are."""
    known = read(file) | {
        (r.form, r.name): Expected(verdict=r.verdict, reason=reason_of(r)) for r in results
    }
    listed: dict[str, dict[str, dict[str, list[str]]]] = {}
    for (form, name), entry in sorted(known.items()):
        names = listed.setdefault(form, {}).setdefault(entry.verdict, {})
        names.setdefault(entry.reason, []).append(name)
    text = json.dumps(listed, indent=1, sort_keys=True, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def reason_of(result: Result) -> str:
    """Why a case is not right, in a line, without the names of its tensors."""
    first = result.detail.partition("\n")[0]
    # What differs from run to run, or from case to case, is no reason.
    first = first.removeprefix("error: ").removeprefix("model.onnx: ")
    return re.sub(r" \('[^']*'\)", "", first)


def sample(count: int) -> set[Key]:
    """So many cases of each form on the list, the same ones each time."""
    known = sorted(read())
    rng = random.Random(0)
    forms = {form: [key for key in known if key[0] == form] for form, _ in known}
    return {key for keys in forms.values() for key in rng.sample(keys, min(count, len(keys)))}


def worse(results: Iterable[Result], known: Mapping[Key, Expected]) -> list[str]:
    """A line for each case that is in a worse place than on the list."""
    return [
        f"{result.form} {result.name}: was {before.verdict}, is {result.verdict}: {result.detail}"
        for result in results
        if (before := known.get((result.form, result.name)))
        and _badness(result.verdict) > _badness(before.verdict)
    ]


def totals(known: Mapping[Key, Expected]) -> dict[str, Counter[Verdict]]:
    """How many cases have each verdict, by form."""
    found: dict[str, Counter[Verdict]] = {}
    for (form, _), entry in known.items():
        found.setdefault(form, Counter())[entry.verdict] += 1
    return found


def _badness(verdict: Verdict) -> int:
    """A refusal is worse than a right result, and everything else worse than a refusal."""
    return 2 if verdict in BAD else int(verdict == "refused")
