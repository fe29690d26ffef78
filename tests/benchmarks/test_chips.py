"""Programs of one int8 model for several chips are held to each other, value by value."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks.chips import __main__ as chips
from edgekiln.benchmarks.chips import sources
from edgekiln.benchmarks.chips.compare import ChipDifference, Chips, compiled, difference
from edgekiln.benchmarks.chips.sources import QuantizedModel, Source
from edgekiln.runtime.bundle import read_program
from edgekiln.targets import profile
from tests import emulated
from tests.e2e.ci_models import DATA, classifier

SMALL = """
name = "small"
description = "A Cortex-M4 with next to no flash"
extends = "cortex-m4"
[memory]
flash-bytes = 4096
ram-bytes = 65536
"""


def test_a_value_that_differs_in_one_bit_is_counted() -> None:
    wanted = (np.array([[0.0, -4.0]], np.float32), np.array([7], np.int64))
    assert difference(wanted, wanted) == ChipDifference(values=3)
    signed = (np.array([[-0.0, -4.0]], np.float32), np.array([7], np.int64))
    assert difference(signed, wanted) == ChipDifference(values=3, differing=1)
    off = (np.array([[0.0, -3.0]], np.float32), np.array([7], np.int64))
    assert difference(off, wanted) == ChipDifference(values=3, differing=1, largest=0.25)
    assert str(difference(off, wanted)) == "1 of 3 differ, by 2.5e-01 at most"
    with pytest.raises(ValueError, match="int8"):
        difference((np.zeros((1, 2), np.int8), wanted[1]), wanted)


@pytest.fixture
def model(tmp_path: Path) -> QuantizedModel:
    return QuantizedModel(path=classifier(tmp_path / "net.onnx"), data=DATA, home=tmp_path)


def test_a_small_models_row_says_what_each_chip_computes_and_holds(
    model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """On real digits: another x86, a microcontroller on QEMU's board, and one it does not fit."""
    emulated.require(profile.load("cortex-m4"))
    (tmp_path / "small.toml").write_text(SMALL)
    source = Source(name="digits", make=lambda _folder, _pictures: model)
    monkeypatch.setattr(chips, "sources", lambda: iter([source]))
    targets = f"x86-64-v3,x86-64-v2,cortex-m4,{tmp_path / 'small.toml'},nothing"
    folder = tmp_path / "results"
    words = ["chips", str(folder), "--targets", targets, "--samples", "5"]
    monkeypatch.setattr("sys.argv", words)
    chips.main()
    first = capsys.readouterr().out
    row, note = first.splitlines()[2], first.splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:5] == ["digits", "0 of 3", "5", "50", "equal"]
    assert cells[5].startswith("equal, ")
    assert cells[5].count("KiB") == 2
    assert cells[6].startswith("does not fit: ")
    assert cells[7] == "– (1)"
    assert note.startswith("1. error: ")
    chips.main()  # by what was kept of the first time
    assert capsys.readouterr().out == first


def test_another_program_differs(model: QuantizedModel, tmp_path: Path) -> None:
    folder = tmp_path / "chips"
    folder.mkdir()
    first = compiled(model.path, "x86-64-v3", folder)
    perturbed = classifier(tmp_path / "other.onnx", "weights")
    other = compiled(perturbed, "x86-64-v3", folder)
    assert isinstance(first, Path)
    assert isinstance(other, Path)
    held = Chips(model, first, 3, 10**9, tmp_path / "known")
    assert held.held(first) == ChipDifference(values=30)
    found = held.held(other)
    assert isinstance(found, ChipDifference)
    assert found.differing > 10
    assert read_program(first)[0].footprint is None


def test_every_row_has_a_name_of_its_own() -> None:
    names = [source.name for source in sources.sources()]
    assert len(names) == len(set(names)) > 15
