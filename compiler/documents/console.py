"""The console that tables and bars are shown on."""

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain_console(
    *, file: IO[str] | None = None, stderr: bool = False, width: int | None = None
) -> "Console":
    """One that prints texts as they are: names of files, models and tensors come from users, and
    "[/a]" in them is no markup, nor ":x:" a picture.
    """
    from rich.console import Console

    return Console(file=file, stderr=stderr, width=width, markup=False, emoji=False)
