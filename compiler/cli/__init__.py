"""The command line: parse, call, print. Nothing here computes."""

import errno
import os
import sys

FULL = 9  # the exit code of a full disk


def main() -> None:
    """Entry point of the `edgekiln` program."""
    try:
        from edgekiln.compiler.cli.group import edgekiln
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        # A device has `pip install edgekiln` alone: numpy and the runtime.
        print(
            f"error: the Python package {error.name} is not installed\n"
            " hint: pip install 'edgekiln[build]'; on a device: python -m edgekiln.runtime --help",
            file=sys.stderr,
        )
        sys.exit(5)
    try:
        try:
            edgekiln(prog_name="edgekiln")
        finally:
            sys.stdout.flush()  # what is left in the buffer may be what does not fit
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"error: standard output cannot be written: {error.strerror}\n"
            " hint: free some space where it goes, or choose another file",
            file=sys.stderr,
        )
        # Python flushes once more at its end, and would complain in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FULL)
