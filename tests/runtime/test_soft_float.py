"""Floats where a processor has no instructions for them have the bits of those that have."""

import subprocess
from pathlib import Path

from tests.runtime.c_runner import SOURCES

TEST = Path(__file__).parent / "soft_float_test.c"


def test_one_rounding_and_whole_numbers_are_those_of_the_processor(tmp_path: Path) -> None:
    """4 million cases, against C's library: soft_float_test.c says which."""
    flags = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined")
    command = ["gcc", *flags, "-fno-sanitize-recover", f"-I{SOURCES}", TEST, "-o", "test", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == 4_000_000
