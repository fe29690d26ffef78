"""A directory is replaced as a whole, or stays."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.compiler.ci.publish import replaced, write_sums
from edgekiln.compiler.pipeline import locks, whole_directory
from edgekiln.runtime.errors import ConfigError, StorageError


def put(directory: Path, text: str) -> None:
    with replaced(directory) as fresh:
        (fresh / "results.json").write_text(text)
        (fresh / text).touch()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("exchange", [whole_directory._exchange, lambda *_: False])
def test_the_new_takes_the_place_of_the_old_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Callable[[Path, Path], bool]
) -> None:
    monkeypatch.setattr(whole_directory, "_exchange", exchange)
    put(tmp_path / "dist", "one")
    put(tmp_path / "dist", "two")
    assert names(tmp_path / "dist") == ["results.json", "two"]
    assert names(tmp_path) == ["dist"]


def test_a_run_that_fails_leaves_the_old(tmp_path: Path) -> None:
    put(tmp_path / "dist", "one")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "dist"):
        _ = 1 / 0
    assert names(tmp_path / "dist") == ["one", "results.json"]
    assert names(tmp_path) == ["dist"]


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".dist.4711.partial").mkdir()
    (tmp_path / ".dist.4711.partial" / "half").touch()
    put(tmp_path / "dist", "one")
    assert names(tmp_path / "dist") == ["one", "results.json"]
    assert names(tmp_path) == ["dist"]


def test_a_link_goes_on_leading_to_the_directory_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "dist").symlink_to("disk/builds")
    put(tmp_path / "dist", "one")
    put(tmp_path / "dist", "two")
    assert names(tmp_path / "disk/builds") == ["results.json", "two"]
    assert (names(tmp_path), names(tmp_path / "disk")) == (["disk", "dist"], ["builds"])
    assert (tmp_path / "dist").is_symlink()


def test_what_a_killed_run_still_writes_is_not_of_the_next_one(tmp_path: Path) -> None:
    places = []
    for _ in range(2):
        program = (
            "import sys\nfrom pathlib import Path\n"
            "from edgekiln.compiler.ci.publish import replaced\n"
            "with replaced(Path(sys.argv[1])) as fresh:\n"
            "    print(fresh)\n    (fresh / 'results.json').touch()\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "dist")]
        places.append(subprocess.run(command, check=True, capture_output=True).stdout)
    assert places[0] != places[1]


def test_files_of_somebody_else_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "thesis.tex").touch()
    with pytest.raises(StorageError) as error:
        put(tmp_path / "dist", "one")
    assert error.value.message.endswith("dist holds files that are not of a run of `edgekiln ci`")
    assert names(tmp_path / "dist") == ["thesis.tex"]


def test_two_runs_do_not_write_to_one_directory(tmp_path: Path) -> None:
    with (
        locks.try_exclusive(tmp_path / ".dist.lock"),
        pytest.raises(ConfigError, match=r"process \d+ on .* is writing to"),
    ):
        put(tmp_path / "dist", "one")


def test_sums_are_what_sha256sum_reads(tmp_path: Path) -> None:
    (tmp_path / "a.ekb").write_text("a")
    write_sums(tmp_path)
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  a.ekb\n"
