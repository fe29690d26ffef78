"""The command line: parse, call, print. Nothing here computes."""

import sys


def main() -> None:
    """Entry point of the `edgekiln` program."""
    try:
        _main()
    except KeyboardInterrupt:  # while it was still being imported, or once more while it ended
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _main() -> None:
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
    from edgekiln.runtime.standard_streams import standard_streams

    with standard_streams():
        edgekiln(prog_name="edgekiln")
