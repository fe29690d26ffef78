"""Every error a user can cause, one class an exit code.

`message` says what is wrong and where; `hint` says what to do next. The command line prints the two
and exits with `exit_code`; a traceback is for our own bugs alone (exit code 1).
"""


class EdgeKilnError(Exception):
    """Base of all errors that are not bugs of ours."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EdgeKilnError):
    """A wrong option, name or recipe key. Shares code 2 with the option parser's own errors."""

    exit_code = 2


class InputError(EdgeKilnError):
    """A model, checkpoint, data set or image cannot be read or does not fit."""

    exit_code = 3


class UnsupportedError(EdgeKilnError):
    """The model holds something that cannot be compiled; the message names it."""

    exit_code = 4


class MissingToolError(EdgeKilnError):
    """A program or package is not installed; the hint is the command that installs it."""

    exit_code = 5


class AccuracyError(EdgeKilnError):
    """A stage lost more accuracy than allowed."""

    exit_code = 6


class MismatchError(EdgeKilnError):
    """Two programs that must agree do not."""

    exit_code = 7


class BundleError(EdgeKilnError):
    """A bundle is corrupt, foreign, or made for another machine."""

    exit_code = 8


class StorageError(EdgeKilnError):
    """The disk is full or read-only, or a stored artifact is damaged."""

    exit_code = 9


class TrainingError(EdgeKilnError):
    """Training diverged or cannot go on."""

    exit_code = 10


class GateError(EdgeKilnError):
    """A demanded property does not hold, e.g. `--strict-int8`."""

    exit_code = 11


class MeasurementError(EdgeKilnError):
    """A benchmark could not run or was too noisy to report."""

    exit_code = 12


class DeviceError(EdgeKilnError):
    """A device is busy, cannot be reached, or was lost."""

    exit_code = 13
    is_absent = False  # whether a GPU's program found its driver, and no GPU that it could take


EXIT_INTERRUPTED = 130  # Ctrl-C, as shells report it
EXIT_PIPE = 141  # nobody reads standard output any more, as shells report it
EXIT_TERMINATED = 143  # SIGTERM, as shells report it


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line; its class, if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def debian_hint(*packages: str) -> str:
    """The command that installs Debian packages, for an error's hint."""
    return f"sudo apt-get install -y {' '.join(packages)}"
