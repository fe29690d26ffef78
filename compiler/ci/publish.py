"""The directory of a run: whole, and with the sums of its files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekiln.compiler.ci.result import RESULTS
from edgekiln.compiler.pipeline import whole_directory
from edgekiln.compiler.pipeline.artifact import sha256_of

SUMS = "SHA256SUMS"


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """Give a fresh directory, which takes the place of an earlier run's at the end of the block.

    Raises:
        ConfigError, StorageError: as `whole_directory.replaced`.
    """
    with whole_directory.replaced(directory, RESULTS, "edgekiln ci") as fresh:
        yield fresh


def write_sums(directory: Path) -> None:
    """Write the sums of all files that are there, as `sha256sum -c` reads them."""
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in paths]
    (directory / SUMS).write_text("".join(lines), encoding="utf-8")
