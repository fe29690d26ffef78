"""Tuning files: which register tile was measured to be the best, a line of JSON a kind of layer.

A line holds the fields of `TuningRow`, and its tiles those of `Tile`, with "-" for "_"; what has a
default may be missing.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeVar

from edgekiln.compiler.kernels.sharing import signature
from edgekiln.compiler.kernels.tile import VERSION, Tile
from edgekiln.runtime.codec import encode, loads
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.limits import read_regular, reading_hint
from edgekiln.runtime.typed import from_table, kebab
from edgekiln.targets.profile import TUNING, TargetProfile

if TYPE_CHECKING:
    from edgekiln.compiler.kernels.types import Kernel
    from edgekiln.targets.isa.base import MicroKernel


class Tunable(Protocol):
    """A kernel whose register tile changes its speed and not its results. None: its default."""

    @property
    def tile(self) -> Tile | None: ...
    @property
    def label(self) -> str:
        """What it computes, in words for people."""
        ...

    @property
    def shape(self) -> Self:
        """The kernel without its numbers and its tile: what a choice depends on."""
        ...

    def tiles(self, mk: "MicroKernel") -> list[Tile]:
        """The tiles it may have: the default first, then what looks best."""
        ...

    def build(self, mk: "MicroKernel") -> "Kernel": ...


T = TypeVar("T", bound=Tunable)
Unit = Literal["s", "cycles"]


@dataclass(frozen=True, kw_only=True)
class TuningRow:
    """One kind of layer on one target; costs are medians over the trials of one run, in which the
    default and the tile took turns.
    """

    layer: str
    target: str
    version: int  # of the kernels: `kernels.tile.VERSION`
    signature: str
    method: str  # the CPU that measured, or how it was estimated
    unit: Unit
    default: Tile
    default_cost: float
    tile: Tile
    tile_cost: float
    gain_spread: float | None = None  # of default cost / tile cost: largest - smallest of a trial


def read(path: Path) -> tuple[TuningRow, ...]:
    """Read every row of a file.

    Raises:
        ConfigError: there is no such file, or one of its lines is no row; the message says which.
    """
    try:
        lines = read_regular(path).decode().splitlines()
    except FileNotFoundError:
        raise ConfigError(f"no such tuning file: {path}", "`edgekiln tune` writes one") from None
    except OSError as error:
        hint = reading_hint(error, "`edgekiln tune` writes one")
        raise ConfigError(f"{path}: {error.strerror}", hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: cannot be read as a tuning file ({error})", "`edgekiln tune` writes one"
        ) from error
    return tuple(_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 1))


def _row(line: str, where: str) -> TuningRow:
    try:
        values = loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: not a JSON object", "`edgekiln tune` writes such files")
    return from_table(TuningRow, values, where)


def merged(before: Iterable[TuningRow], now: Iterable[TuningRow]) -> list[TuningRow]:
    """The rows of both; of two for the same layer and target, the new one."""
    return list({(row.target, row.signature): row for row in (*before, *now)}.values())


def write(path: Path, rows: Iterable[TuningRow]) -> None:
    """Write the rows in an order that depends on nothing else. Raises StorageError."""
    ordered = sorted(rows, key=lambda row: (row.target, row.layer, row.signature))
    lines = [json.dumps(_plain(encode(row)), ensure_ascii=False) + "\n" for row in ordered]
    with written_whole(path) as stream:
        stream.write("".join(lines).encode())


def _plain(values: dict[str, object]) -> dict[str, object]:
    return {
        kebab(key): _plain(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def file_for(given: str, target: TargetProfile) -> Path | None:
    """The file that was given, else the one that ships for the target or the nearest of what it
    derives from.
    """
    if given:
        return Path(given)
    shipped = (TUNING / f"{name}.jsonl" for name in (target.name, *target.bases))
    return next((path for path in shipped if path.is_file()), None)


@dataclass(frozen=True, kw_only=True)
class TunableLayer:
    """One kind of layer: what it computes, on which micro-kernel, and the calls that are of it."""

    kernel: Tunable  # without its numbers
    mk: "MicroKernel"
    calls: list[str]


@dataclass
class Choices:
    """The tiles of a program's layers: those of a tuning file where it has them, else defaults."""

    rows: dict[str, TuningRow] = field(default_factory=dict)  # by signature
    stale: int = 0  # rows of another version of the kernels
    layers: dict[str, TunableLayer] = field(default_factory=dict)  # by signature

    @classmethod
    def of(cls, rows: Sequence[TuningRow], target: TargetProfile) -> Self:
        """Choose the rows for this target or what it derives from; of two, the nearer one's."""
        lineage = (*reversed(target.bases), target.name)
        ours = sorted(
            (row for row in rows if row.target in lineage),
            key=lambda row: lineage.index(row.target),
        )
        current = {row.signature: row for row in ours if row.version == VERSION}
        return cls(rows=current, stale=sum(row.version != VERSION for row in ours))

    def tuned(self, name: str, kernel: T, mk: "MicroKernel") -> T:
        """The kernel with its tile.

        Raises:
            ConfigError: the file's tile is none that this kernel can have.
        """
        shape = kernel.shape
        key = signature(shape, mk.tuned_as or mk.name)
        self.layers.setdefault(key, TunableLayer(kernel=shape, mk=mk, calls=[])).calls.append(name)
        row = self.rows.get(key)
        if row is None:
            return kernel
        every = shape.tiles(mk)
        if every and row.tile == every[0]:
            return kernel  # shares its code with untuned programs
        tile = _in_reach(row.tile, every)
        if tile is None:
            raise ConfigError(
                f"tuning of {row.layer} for {row.target}: no such tile: {encode(row.tile)}",
                "tune again: `edgekiln tune`",
            )
        return replace(kernel, tile=tile)  # type: ignore[type-var]  # all are dataclasses

    def notes(self, source: Path | None) -> list[str]:
        """Which layers are tuned and which are not, in words for the stage's notes."""
        named = source.name if source else "no tuning file"
        default = [layer for key, layer in self.layers.items() if key not in self.rows]
        count = sum(len(layer.calls) for layer in self.layers.values())
        left = [name for layer in default for name in layer.calls]
        said = [f"tiles ({named}): {count - len(left)} of {count} layers measured"]
        if left and len(left) < count:
            said.append(f"tiles by default: {', '.join(left)}")
        if self.stale:
            said.append(f"tiles ({named}): {self.stale} rows of other kernels ignored; tune again")
        return said


def _in_reach(measured: Tile, every: Sequence[Tile]) -> Tile | None:
    """The tile that was measured, with as many sums as this chip's dot products want at once: it
    may have been measured on one with fewer of them.
    """
    plain = replace(measured, items_first=False)
    if plain in every:
        return measured
    alike = (tile.splits for tile in every if replace(plain, splits=tile.splits) == tile)
    splits = next(alike, None)
    return None if splits is None else replace(measured, splits=splits)
