"""The user's own folder and name, which a container or a service may not have."""

import getpass
import os
from pathlib import Path

from edgekiln.runtime.errors import ConfigError


def home(instead: str) -> Path:
    """The user's home directory.

    Args:
        instead: what can be set in its place, in the hint.

    Raises:
        ConfigError: this user has none.
    """
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry among the system's users
        raise ConfigError("this user has no home directory", f"set HOME, or {instead}") from None


def expanded(path: str | Path) -> Path:
    """The path; one that begins with `~` or `~name` in that user's home directory.

    Raises:
        ConfigError: there is no such user, or they have none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path}: there is no such home directory", "give the path without ~; ./~ is a file"
        ) from None


def user_name() -> str:
    """The user's name; their number where they have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError: of Python 3.13 on
        return str(os.getuid())
