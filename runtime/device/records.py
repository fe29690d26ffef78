"""Files as a board's scripts print them: 036 name 037 content, one after the other."""

from collections.abc import Iterator
from pathlib import Path

START, MIDDLE = b"\x1e", b"\x1f"
END = b"\x1d\n"  # of a round, where they come again and again


def parse(printed: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every record."""
    for record in printed.split(START)[1:]:
        name, _, content = record.partition(MIDDLE)
        yield name.decode(errors="replace"), content


def write(root: Path, name: str, content: bytes) -> None:
    """Write a record as a file below `root`, whole at any moment; a name that leads outside is
    ignored.
    """
    file = root / name
    if root not in file.resolve().parents:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}")
    part.write_bytes(content)
    part.replace(file)
