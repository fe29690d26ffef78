"""The `edgekiln` command as a user calls it: in this process, or its program."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("edgekiln"))  # that of this Python


def command(*arguments: object) -> tuple[int, str]:
    """The exit code and what was said on stderr. An unexpected exception goes through."""
    from edgekiln.compiler.cli.group import edgekiln

    out, err = io.StringIO(), io.StringIO()
    words = [str(argument) for argument in arguments]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            # Standalone, as the program runs it: errors of usage become exit codes.
            edgekiln.main(words, prog_name="edgekiln", standalone_mode=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            return code, err.getvalue().strip()
    return 0, err.getvalue().strip()
