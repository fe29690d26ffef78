"""The runner's C sources, by themselves: threads, sanitizers, warnings, CPU features."""

import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.aot.build import Built, build
from edgekiln.runtime import host
from edgekiln.targets import profile as profiles
from tests.compiler.aot import tiny
from tests.runtime.c_runner import SOURCES, link, output, perf, run, write_input

POOL_TEST = r"""
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ITEMS = 37 };
static int done[ITEMS];

static int count(void *context, int32_t begin, int32_t end) {
    for (int32_t i = begin; i < end; i++) done[i] += *(int *)context;
    return 0;
}

static int fail_last(void *context, int32_t begin, int32_t end) {
    (void)context, (void)begin;
    return end == ITEMS ? 5 : 0;
}

int main(void) {
    pool_t *pool = pool_start(3, NULL);
    int one = 1, rounds = 2000, status = 0;
    for (int i = 0; i < rounds; i++) {
        status |= pool_run(pool, count, &one, ITEMS);
        if (i % 100 == 0) usleep(2000);
    }
    for (int i = 0; i < ITEMS; i++) if (done[i] != rounds) abort();
    printf("status %d, then %d\n", status, pool_run(pool, fail_last, NULL, ITEMS));
    pool_stop(pool);
    return 0;
}
"""

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="builds x86-64 programs")


@pytest.fixture(scope="module")
def built() -> Built:
    return build(tiny.program(), tiny.PROFILE)


def test_the_pool_does_every_item_once_and_races_with_no_one(tmp_path: Path) -> None:
    """Under ThreadSanitizer, with pauses now and then that send the workers to sleep."""
    (tmp_path / "pool_test.c").write_text(POOL_TEST)
    for name in ("model.h", "target.h"):
        (tmp_path / name).write_text("#define MODEL_ALIGN 64\n#define MODEL_OVERREAD_BYTES 64\n")
    flags = (
        "-std=c11",
        "-D_GNU_SOURCE",
        "-O1",
        "-g",
        "-fsanitize=thread",
        "-pthread",
        f"-I{SOURCES}",
        "-I.",
    )
    sources = ("pool_test.c", str(SOURCES / "pool.c"), str(SOURCES / "files.c"))
    subprocess.run(["gcc", *flags, *sources, "-o", "pool_test"], cwd=tmp_path, check=True)
    done = subprocess.run(["./pool_test"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("status 0, then 5\n", "")


def test_the_runner_is_clean_under_address_and_undefined_behaviour_sanitizers(
    tmp_path: Path, built: Built
) -> None:
    for name in ("model.h", "libmodel.a"):
        (tmp_path / name).write_bytes(built.files[name])
    sanitizers = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")
    link(tmp_path, [tmp_path / "libmodel.a"], *sanitizers)
    x = write_input(tmp_path)
    (tmp_path / "expect.bin").write_bytes(tiny.expected(x).tobytes())
    assert run(tmp_path, "run", "--input", "in.bin", "--output", "out.bin").returncode == 0
    output(tmp_path, "check", "--input", "in.bin", "--expect", "expect.bin", "--threads", "2")
    assert len(perf(tmp_path, "--threads", "2", "--profile")["layers"]) == 4


def test_the_runner_can_check_every_feature_a_profile_names() -> None:
    table = (SOURCES / "cpu.c").read_text()
    loaded = [profiles.load(name) for name in profiles.names()]
    named = {f for profile in loaded if profile.machine == "x86_64" for f in profile.features}
    assert "avx2" in named
    assert [feature for feature in named if f'"{feature}"' not in table] == []


def test_the_feature_check_agrees_with_the_kernel_on_this_cpu(tmp_path: Path) -> None:
    names = re.findall(r'^    {"(\w+)",', (SOURCES / "cpu.c").read_text(), re.MULTILINE)
    (tmp_path / "cpu_test.c").write_text(
        '#include <stdio.h>\n#include "cpu.h"\nint main(int n, char **v) {\n'
        "    for (int i = 1; i < n; i++) if (cpu_has(v[i])) puts(v[i]);\n}\n"
    )
    sources = ("cpu_test.c", str(SOURCES / "cpu.c"))
    subprocess.run(["gcc", f"-I{SOURCES}", *sources, "-o", "cpu_test"], cwd=tmp_path, check=True)
    found = subprocess.check_output(["./cpu_test", *names], cwd=tmp_path, text=True).split()
    assert set(found) == set(names) & host.cpu_flags()


def test_the_example_program_compiles_and_runs(tmp_path: Path) -> None:
    """The program the README shows, against a classifier's header and library."""
    built = build(tiny.classifier(), tiny.PROFILE)
    for name in ("model.h", "libmodel.a"):
        (tmp_path / name).write_bytes(built.files[name])
    (tmp_path / "example.c").write_bytes((SOURCES / "example.c").read_bytes())
    assert (SOURCES / "example.c").read_text() in (SOURCES.parents[1] / "README.md").read_text()
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    command = ["gcc", *flags, "example.c", "libmodel.a", "-o", "example"]
    subprocess.run(command, cwd=tmp_path, check=True)
    image = np.zeros(tiny.N, np.float32)
    image[17] = 2.5
    done = subprocess.run(
        ["./example"], cwd=tmp_path, input=image.tobytes(), capture_output=True, check=True
    )
    assert done.stdout == b"class 17, score 5\n"


def test_the_c_sources_are_narrow_and_free_of_warnings(tmp_path: Path, built: Built) -> None:
    """With the warnings a careful user turns on, beyond those every build has."""
    (tmp_path / "model.h").write_bytes(built.files["model.h"])
    (tmp_path / "target.h").write_text('#define TARGET_NAME ""\n#define TARGET_FEATURES {0}\n')
    warnings = ("-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes")
    sources = sorted(SOURCES.glob("*.c"))
    assert sources
    for source in sources:
        assert max(map(len, source.read_text().splitlines())) <= 100, source.name
        flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *warnings)
        command = ["gcc", *flags, "-D_GNU_SOURCE", "-I.", "-c", str(source), "-o", "object.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
