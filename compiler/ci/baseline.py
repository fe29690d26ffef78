"""Earlier results: a directory, a file, or a file of an earlier commit."""

import subprocess
from pathlib import Path

from edgekiln.compiler.ci.result import CiResult, parse, read
from edgekiln.runtime.errors import InputError, MissingToolError, debian_hint

GIT = "git:"
COMMITTED = "edgekiln.results.json"  # beside the configuration; a copy of a `results.json`


def load(source: str, home: Path) -> CiResult:
    """Read the results that `source` names.

    It is DIR, FILE, git:REF or git:REF:PATH, where the path is relative to `home`.

    Raises:
        InputError: there is no such file or commit, or it holds something else.
        MissingToolError: git is not installed.
    """
    if not source.startswith(GIT):
        return read(Path(source))
    ref, _, path = source.removeprefix(GIT).partition(":")
    # With "./" git takes the path from `-C` on, and not from the root of the repository.
    name = f"{ref}:./{path or COMMITTED}"
    # --end-of-options: a ref that begins with "-" is a ref.
    command = ["git", "-C", str(home), "show", "--end-of-options", name]
    try:
        shown = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise MissingToolError("git is not installed", debian_hint("git")) from None
    if shown.returncode:
        reason = shown.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise InputError(
            f"baseline {source}: {reason[0]}",
            f"commit a run's results.json as {COMMITTED}, or name it: git:REF:PATH",
        )
    return parse(shown.stdout, f"baseline {source}")
