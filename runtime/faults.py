"""Errors across processes: two lines on stderr and an exit code. The C runner has the same."""

import sys

from edgekiln.runtime.errors import DeviceError, EdgeKilnError, MeasurementError

_BY_CODE = {kind.exit_code: kind for kind in EdgeKilnError.__subclasses__()}


def print_error(error: EdgeKilnError) -> None:
    """Print an error as two lines, what is wrong and what to do, on the error stream."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f" hint: {error.hint}", file=sys.stderr)


def error_of(exit_code: object, message: object, hint: object) -> EdgeKilnError:
    """The error that another process told of; of an unknown kind it is a DeviceError."""
    kind = _BY_CODE.get(exit_code, DeviceError) if isinstance(exit_code, int) else DeviceError
    return kind(str(message), str(hint))


def error_from(exit_code: int, stderr: str, what: str) -> EdgeKilnError:
    """The error that process `what` died of: the one it printed, or else that it died.

    A negative code is a signal's number, as `subprocess` reports it.
    """
    message = hint = ""
    for line in stderr.splitlines():
        if line.startswith("error: "):
            message = line.removeprefix("error: ")
        elif line.startswith(" hint: "):
            hint = line.removeprefix(" hint: ")
    if message and exit_code in _BY_CODE:
        return _BY_CODE[exit_code](message, hint)
    ended = f"was killed by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    last = stderr.strip().splitlines()[-1:] or ["it printed nothing"]
    return MeasurementError(
        f"{what}: {ended}: {message or last[0]}",
        hint=hint or "this is a bug or a lack of memory; `dmesg` may say more",
    )
