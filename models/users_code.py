"""Code of the user's own that is called by its name."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exits_are_errors() -> Iterator[None]:
    """Around an import or a call: an exit is an error like others.

    Where a script has no `if __name__ == "__main__"`, importing it ends in one, and a command that
    had made nothing would end with exit code 0. What ends one of our own processes, a kind of
    SystemExit, goes on.
    """
    try:
        yield
    except SystemExit as error:
        if type(error) is not SystemExit:
            raise
        raise RuntimeError(f"it ends Python by SystemExit: {error.code}") from error
