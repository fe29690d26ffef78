"""Locks that end with their holder."""

import subprocess
import sys
from pathlib import Path

from edgekiln.compiler.pipeline import locks

# A file may have no bytes: what a full disk does to who takes a lock.
FULL = """
import resource, sys
from pathlib import Path
from edgekiln.compiler.pipeline import locks
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for _ in range(2):
    with locks.exclusive(Path(sys.argv[1]), print):
        print("held")
"""


def test_a_lock_is_released_where_the_disk_has_no_room_for_its_holders_name(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    done = subprocess.run(
        [sys.executable, "-c", FULL, lock], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "held\nheld\n"
    assert not lock.exists()


def test_a_lock_tells_who_holds_it(tmp_path: Path) -> None:
    with locks.try_exclusive(tmp_path / "lock") as ours:
        assert ours
        assert locks.holder(tmp_path / "lock").startswith("process ")
        with locks.try_exclusive(tmp_path / "lock") as again:
            assert not again
    assert not (tmp_path / "lock").exists()
