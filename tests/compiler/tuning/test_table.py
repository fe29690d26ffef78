"""Tuning files: what is written is read, a malformed line refused, a stale one left."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgekiln.compiler.kernels.tile import VERSION, Tile
from edgekiln.compiler.tuning import table
from edgekiln.compiler.tuning.table import Choices, TuningRow, file_for, merged, read, write
from edgekiln.runtime.errors import ConfigError
from edgekiln.targets import isa, profile
from tests.compiler.tuning.layers import ISA, NAME, conv, resnet8_block

ROW = TuningRow(
    layer="conv 3×3 16→16, 8×8", target=NAME, version=VERSION, signature="0" * 64, method="a CPU",
    unit="s", default=Tile(pixels=4, vectors=1, lanes=16), default_cost=2e-6,
    tile=Tile(pixels=8, vectors=1, splits=2, items_first=True), tile_cost=1e-6,
    gain_spread=0.05,
)  # fmt: skip


def test_what_is_written_is_read_whatever_its_order(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, signature="1" * 64), replace(ROW, layer="another")]
    write(tmp_path / "a.jsonl", rows)
    write(tmp_path / "b.jsonl", rows[::-1])
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert set(read(tmp_path / "a.jsonl")) == set(rows)


def test_a_new_measurement_replaces_the_old_one_of_its_layer() -> None:
    newer, other = replace(ROW, tile_cost=9e-7), replace(ROW, target="another")
    assert merged([ROW, other], [newer]) == [newer, other]


def line(**changes: object) -> str:
    row = {key.replace("_", "-"): value for key, value in asdict(ROW).items()}
    row["default"] = {"pixels": 4, "vectors": 1}
    row["tile"] = {"pixels": 8, "vectors": 1}
    return json.dumps({key: value for key, value in {**row, **changes}.items() if value != "gone"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        (line(colour="red"), "unknown key 'colour'"),
        (line(signature="gone"), "signature is missing"),
        (line(version="1"), "version must be a whole number, found '1'"),
        (line(tile={"pixels": 8}), "tile: vectors is missing"),
        (line(unit="hours"), "unit must be one of s, cycles, found 'hours'"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f"{line()}\n{text}\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}, line 2')}: {re.escape(message)}"):
        read(path)


def test_a_row_from_before_spreads_were_kept_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(line(**{"gain-spread": "gone"}))
    (row,) = read(tmp_path / "t.jsonl")
    assert row.gain_spread is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no such tuning file: .*gone\.jsonl$"):
        read(tmp_path / "gone.jsonl")


def test_every_shipped_file_is_of_a_profile_and_of_todays_kernels() -> None:
    shipped = sorted(profile.TUNING.glob("*.jsonl"))
    assert shipped
    for path in shipped:
        target = profile.load(path.stem)
        assert file_for("", target) == path
        assert not Choices.of(read(path), target).stale


def test_what_was_measured_is_still_found() -> None:
    """A signature is kept in files: it must not change with the names of classes."""
    target = profile.load("x86-avx512-vnni")
    path = file_for("", target)
    assert path
    choices = Choices.of(read(path), target)
    choices.tuned("y", resnet8_block(), isa.load("x86_vnni"))
    (key,) = choices.layers
    assert choices.rows[key].layer == "conv 3×3 16→16, 32×32"


def tuned_row(tile: Tile) -> TuningRow:
    """A row for the layer of `conv()`, by way of a `Choices` that has met it."""
    choices = Choices()
    choices.tuned("y", conv(), isa.load(ISA))
    (key,) = choices.layers
    return replace(ROW, signature=key, tile=tile)


def test_a_row_decides_the_tile_of_its_layer_alone() -> None:
    mk, target = isa.load(ISA), profile.load(NAME)
    tile = conv().tiles(mk)[-1]
    choices = Choices.of([tuned_row(tile)], target)
    assert choices.tuned("y", conv(), mk).tile == tile
    assert choices.tuned("z", conv(channels=24), mk).tile is None
    measured, left = choices.notes(Path("here/t.jsonl"))
    assert measured == "tiles (t.jsonl): 1 of 2 layers measured"
    assert left == "tiles by default: z"


def test_what_a_target_derives_from_lends_it_its_file_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, derived = (profile.load(f"x86-avx512-{name}") for name in ("vnni", "vbmi"))
    here = replace(derived, name=profile.HOST, bases=(derived.name, *derived.bases))
    monkeypatch.setattr(table, "TUNING", tmp_path)
    (file := tmp_path / f"{base.name}.jsonl").touch()
    assert file_for("", here) == file_for("", derived) == file
    known = Choices()
    known.tuned("y", conv(), isa.load(base.isa))
    (key,) = known.layers
    mk = isa.load(here.isa)
    theirs, ours = conv().tiles(mk)[1:3]
    row = replace(ROW, target=base.name, signature=key, tile=theirs)
    nearer = replace(row, target=derived.name, tile=ours)
    assert Choices.of([row], here).tuned("y", conv(), mk).tile == theirs
    assert Choices.of([nearer, row], here).tuned("y", conv(), mk).tile == ours


LENT = [
    (base, name)
    for name in profile.names()
    for base in profile.load(name).bases
    if (profile.TUNING / f"{base}.jsonl").exists()
]


@pytest.mark.parametrize(("base", "name"), LENT)
def test_whatever_was_measured_on_a_chip_is_taken_by_those_that_borrow_its_file(
    base: str, name: str
) -> None:
    theirs, ours = (isa.load(profile.load(each).isa) for each in (base, name))
    known = Choices()
    known.tuned("y", conv(), ours)
    (key,) = known.layers
    assert conv().tiles(theirs)
    for tile in conv().tiles(theirs):
        row = replace(ROW, target=base, signature=key, tile=tile)
        taken = Choices.of([row], profile.load(name)).tuned("y", conv(), ours).tile
        # None: what is the default here shares its code with untuned programs.
        assert taken is None or replace(taken, splits=tile.splits) == tile


def test_rows_of_other_kernels_and_targets_are_left() -> None:
    mk, target = isa.load(ISA), profile.load(NAME)
    row = tuned_row(conv().tiles(mk)[-1])
    other = replace(row, target="rpi5")
    choices = Choices.of([replace(row, version=VERSION - 1), other], target)
    assert choices.tuned("y", conv(), mk).tile is None
    assert choices.notes(Path("t.jsonl"))[-1] == (
        "tiles (t.jsonl): 1 rows of other kernels ignored; tune again"
    )


def test_a_tile_that_does_not_fit_is_refused() -> None:
    mk = isa.load(ISA)
    choices = Choices.of([tuned_row(Tile(pixels=99, vectors=1))], profile.load(NAME))
    with pytest.raises(ConfigError, match=r"no such tile: \{'pixels': 99"):
        choices.tuned("y", conv(), mk)
