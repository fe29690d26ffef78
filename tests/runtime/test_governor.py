"""The governor, which chooses operating points: every state of it, and what it takes of a chip."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runtime.c_runner import SOURCES

HERE = Path(__file__).parent
GOVERNOR = SOURCES / "governor.c"


def test_no_point_is_chosen_that_is_too_slow_and_points_change_seldom(tmp_path: Path) -> None:
    """4 million cases, against the definition in other arithmetic: governor_test.c says which."""
    test = HERE / "governor_test.c"
    flags = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined")
    command = ["gcc", *flags, "-fno-sanitize-recover", f"-I{SOURCES}", test, GOVERNOR, "-o", "test"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 4_000_000


@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no compiler for Cortex-M")
def test_it_takes_less_than_4_kib_of_a_cortex_m0_and_no_floats(tmp_path: Path) -> None:
    core = ("-mcpu=cortex-m0plus", "-mthumb", "-nostartfiles", "--specs=nosys.specs")
    entries = ("init", "choose", "ran")
    roots = [f"-Wl,--undefined=model_governor_{name}" for name in entries]
    flags = (*core, "-Os", "-ffunction-sections", "-Wl,--gc-sections", "-Wl,--entry=0")
    command = ["arm-none-eabi-gcc", *flags, *roots, GOVERNOR, "-o", "governor.elf"]
    subprocess.run(command, cwd=tmp_path, check=True)
    # What it calls of the C library is in there, too.
    sizes = subprocess.check_output(["arm-none-eabi-size", "governor.elf"], cwd=tmp_path, text=True)
    text, data, bss = map(int, sizes.splitlines()[1].split()[:3])
    assert 0 < text <= 4096
    assert (data, bss) == (0, 0)
    names = subprocess.check_output(["arm-none-eabi-nm", "governor.elf"], cwd=tmp_path, text=True)
    assert "model_governor_choose" in names
    assert not re.search(r"__aeabi_[fd]|malloc", names)
