"""The runner that ships, around any model: linked by hand, run alone in an empty directory."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.runtime.bundle import with_checksum
from tests.compiler.aot import tiny

SOURCES = Path(__file__).parents[2] / "runtime" / "c"

# What a build writes for each program.
IDENTITY = """\
#include "identity.h"
const char program_json[] = "{}", model_name[] = "toy", edgekiln_version[] = "1.2.3";
const char model_sha256[] = "0000000000000000000000000000000000000000000000000000000000000000";
"""


def link(
    home: Path, model: Sequence[Path], *flags: str, cc: str = "gcc", target: str = "host",
    features: Sequence[str] = (),
) -> Path:  # fmt: skip
    """`home`/runner around the sources or archives of `model`, whose model.h lies beside them."""
    names = "".join(f'"{feature}", ' for feature in features)
    (home / "target.h").write_text(
        f'#define TARGET_NAME "{target}"\n#define TARGET_FEATURES {{{names}0}}\n'
    )
    (home / "identity.c").write_text(IDENTITY)
    sources = [each for each in SOURCES.glob("*.c") if each.name != "example.c"]
    includes = [f"-I{each}" for each in (home, model[0].parent, SOURCES)]
    options = ["-D_GNU_SOURCE", "-pthread", *flags, *includes, "-o", home / "runner"]
    subprocess.run([cc, *options, *sources, home / "identity.c", *model, "-lm"], check=True)
    executable = home / "runner"
    executable.write_bytes(with_checksum(executable.read_bytes()))
    return executable


def run(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["env", "-i", "./runner", *args]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)


def output(home: Path, *args: str) -> Any:
    done = run(home, *args)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def perf(home: Path, *args: str) -> Any:
    quick = ("--trials", "2", "--min-seconds", "0.02", "--warmup-seconds", "0.01")
    return output(home, "perf", "--json", *quick, *args)


def write_input(home: Path) -> "np.ndarray[Any, Any]":
    """Of the tiny program."""
    x = np.random.default_rng(1).integers(-1000, 1000, tiny.N).astype(np.int32)
    (home / "in.bin").write_bytes(x.tobytes())
    return x
