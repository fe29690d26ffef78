"""The directory of a run: whole, and with the sums of its files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgekiln.compiler.ci.result import RESULTS
from edgekiln.compiler.pipeline import whole_directory
from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.runtime.limits import INPUTS, read_file

SUMS = "SHA256SUMS"
WHOLE = "take the directory whole, as `edgekiln ci` wrote it"  # a hint


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """Give a fresh directory, which takes the place of an earlier run's at the end of the block.

    Raises:
        ConfigError, StorageError: as `whole_directory.replaced`.
    """
    with whole_directory.replaced(directory, RESULTS, "edgekiln ci") as fresh:
        yield fresh


def read_sums(directory: Path) -> Mapping[str, str]:
    """The sums that `write_sums` wrote, by the names of files. Raises InputError."""
    path = directory / SUMS
    content = read_file(path, INPUTS, WHOLE)
    lines = content.decode(errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def write_sums(directory: Path) -> None:
    """Write the sums of all files that are there, as `sha256sum -c` reads them."""
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in paths]
    (directory / SUMS).write_text("".join(lines), encoding="utf-8")
