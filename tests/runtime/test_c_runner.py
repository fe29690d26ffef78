"""The bundle's executable, alone in an empty directory: no Python, no library, no environment."""

import json
import platform
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.aot.build import Built, build
from edgekiln.runtime import host
from edgekiln.targets import profile as profiles
from tests.compiler.aot import tiny

SOURCES = Path(__file__).parents[2] / "runtime" / "c"

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


@pytest.fixture
def home(built: Built, tmp_path: Path) -> Path:
    """An empty directory with nothing but the executable."""
    (tmp_path / "runner").write_bytes(built.files["runner"])
    (tmp_path / "runner").chmod(0o755)
    return tmp_path


def runner(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["env", "-i", "./runner", *args]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)


def output(home: Path, *args: str) -> Any:
    done = runner(home, *args)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def validate(name: str, document: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((SOURCES.parent / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)


def perf(home: Path, *args: str) -> Any:
    quick = ("--trials", "2", "--min-seconds", "0.02", "--warmup-seconds", "0.01")
    return output(home, "perf", *quick, *args)


def write_input(home: Path) -> "np.ndarray[Any, Any]":
    x = np.random.default_rng(1).integers(-1000, 1000, tiny.N).astype(np.int32)
    (home / "in.bin").write_bytes(x.tobytes())
    return x


def test_it_is_a_static_executable(home: Path) -> None:
    dynamic = subprocess.run(
        ["readelf", "-dW", "runner"], cwd=home, capture_output=True, text=True, check=True
    )
    assert "There is no dynamic section" in dynamic.stdout


def test_run_writes_what_the_model_computes(home: Path) -> None:
    x = write_input(home)
    done = runner(home, "run", "--input", "in.bin", "--output", "out.bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    y = np.frombuffer((home / "out.bin").read_bytes(), np.int32)
    np.testing.assert_array_equal(y, tiny.expected(x))
    assert sorted(p.name for p in home.iterdir()) == ["in.bin", "out.bin", "runner"]


def test_check_accepts_equal_outputs(home: Path) -> None:
    x = write_input(home)
    (home / "expect.bin").write_bytes(tiny.expected(x).tobytes())
    report = output(home, "check", "--input", "in.bin", "--expect", "expect.bin")
    assert report == {"schema": 1, "outputs_equal": 1}
    validate("runner-check", report)


def test_check_names_the_first_byte_that_differs(home: Path) -> None:
    y = tiny.expected(write_input(home))
    y[2] ^= 1
    (home / "expect.bin").write_bytes(y.tobytes())
    done = runner(home, "check", "--input", "in.bin", "--expect", "expect.bin")
    assert done.returncode == 7
    assert done.stdout == ""
    size = 4 * tiny.N
    assert done.stderr == (
        f"error: output 0 differs from expect.bin in 1 of {size} bytes, first at byte 8\n"
    )


def test_info_is_the_program_description(home: Path, built: Built) -> None:
    assert runner(home, "info").stdout == built.files["program.json"].decode()


def test_perf_reports_every_trial(home: Path, built: Built) -> None:
    report = perf(home)
    assert report["schema"] == 2
    assert report["target"] == "test-x86"
    assert report["arena_bytes"] == built.spec.arena_bytes
    assert report["first_inference_s"] > 0
    assert report["peak_rss_bytes"] > built.spec.arena_bytes
    assert report["layers"] == []
    assert len(report["trials"]) == 2
    for trial in report["trials"]:
        order = ("min_s", "median_s", "p90_s", "p99_s", "max_s")
        values = [trial[key] for key in order]
        assert values == sorted(values)
        assert trial["wall_s"] >= 0.02
        assert 0 < len(trial["latencies_s"]) <= min(trial["samples"], 1000)


def test_a_sample_of_a_tiny_model_is_longer_than_the_clock_is_coarse(home: Path) -> None:
    report = perf(home)
    assert report["calls_per_sample"] > 1
    sample = report["calls_per_sample"] * report["trials"][0]["median_s"]
    assert sample > 50 * report["clock_overhead_s"]


def test_profile_times_every_layer_apart(home: Path) -> None:
    report = perf(home, "--profile")
    validate("runner-perf", report)
    layers = report["layers"]
    assert [(layer["name"], layer["op"]) for layer in layers] == [
        ("a", "add"), ("b", "add"), ("c", "add"), ("y", "float:Inc"),
    ]  # fmt: skip
    assert all(0 <= layer["min_s"] <= layer["median_s"] for layer in layers)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_computes_the_same(home: Path, threads: int) -> None:
    write_input(home)
    outputs = []
    for count in (1, threads):
        args = ("--input", "in.bin", "--output", "out.bin", "--threads", str(count))
        assert runner(home, "run", *args).returncode == 0
        outputs.append((home / "out.bin").read_bytes())
    assert outputs[0] == outputs[1]


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
    home: Path, built: Built
) -> None:
    for name in ("model.h", "libmodel.a"):
        (home / name).write_bytes(built.files[name])
    (home / "target.h").write_text('#define TARGET_NAME "x"\n#define TARGET_FEATURES {0}\n')
    (home / "program.c").write_text('const char program_json[] = "{}";\n')
    sources = [str(path) for path in SOURCES.glob("*.c") if path.name != "example.c"]
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-D_GNU_SOURCE", "-I.")
    command = ["gcc", *flags, *sources, "program.c", "libmodel.a", "-lm", "-pthread"]
    subprocess.run([*command, "-o", "runner"], cwd=home, check=True)
    x = write_input(home)
    (home / "expect.bin").write_bytes(tiny.expected(x).tobytes())
    assert runner(home, "run", "--input", "in.bin", "--output", "out.bin").returncode == 0
    output(home, "check", "--input", "in.bin", "--expect", "expect.bin", "--threads", "2")
    assert len(perf(home, "--threads", "2", "--profile")["layers"]) == 4


def test_threads_that_gain_nothing_are_not_used(home: Path) -> None:
    """96 additions are not worth waking anyone for."""
    assert perf(home, "--threads", "2")["shared_steps"] == 0


def test_pinned_threads_are_reported(home: Path) -> None:
    report = perf(home, "--threads", "1", "--cpu", "0")
    assert (report["threads"], report["cpus"]) == (1, [0])


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        ((), 2, "no command"),
        (("dance",), 2, "unknown command 'dance'"),
        (("perf", "--trials", "x"), 2, "--trials: 'x' is not a number from 1 to 1000"),
        (("perf", "--trials", "1.5"), 2, "--trials: '1.5' is not a whole number"),
        (("perf", "--quick"), 2, "--quick: unknown, or its value is missing"),
        (("perf", "--speed", "3"), 2, "unknown option '--speed'"),
        (("perf", "--threads", "2", "--cpu", "0"), 2, "--cpu: 1 CPUs for 2 threads"),
        (("perf", "--cpu", "999"), 12, "cannot pin a thread to CPU 999: Invalid argument"),
        (("run", "--output", "o"), 2, "run: no --input"),
        (("run", "--input", "a"), 2, "--output: 0 files for a model with 1 outputs"),
        (("check", "--input", "a"), 2, "--expect: 0 files for a model with 1 outputs"),
        (
            ("perf", "--input", "a", "--input", "b"), 2,
            "--input: 2 files for a model with 1 inputs",
        ),
        (("perf", "--input", "no.bin"), 3, "cannot read no.bin: No such file or directory"),
    ],
)  # fmt: skip
def test_mistakes_are_named(home: Path, args: tuple[str, ...], code: int, error: str) -> None:
    done = runner(home, *args)
    assert done.stderr.splitlines()[0] == f"error: {error}"
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize(("size", "word"), [(8, "less"), (4 * tiny.N + 1, "more")])
def test_an_input_of_the_wrong_size_is_refused(home: Path, size: int, word: str) -> None:
    (home / "in.bin").write_bytes(bytes(size))
    done = runner(home, "run", "--input", "in.bin", "--output", "out.bin")
    assert done.returncode == 3
    assert done.stderr == (
        f"error: in.bin: holds {word} than the tensor's {4 * tiny.N} bytes\n"
        " hint: raw bytes in C order, as in the bundle's example/\n"
    )
    assert not (home / "out.bin").exists()


def test_an_output_that_cannot_be_written_is_named(home: Path) -> None:
    write_input(home)
    done = runner(home, "run", "--input", "in.bin", "--output", "no/out.bin")
    assert done.returncode == 9
    assert done.stderr == "error: cannot write no/out.bin: No such file or directory\n"


def test_help_lists_the_exit_codes(home: Path) -> None:
    done = runner(home, "--help")
    assert done.returncode == 0
    assert "exit codes:" in done.stdout


def test_a_cpu_without_the_features_is_refused_before_anything_runs(tmp_path: Path) -> None:
    profile = replace(tiny.PROFILE, features=("sse4_1", "warp_drive"))
    (tmp_path / "runner").write_bytes(build(tiny.program(), profile).files["runner"])
    (tmp_path / "runner").chmod(0o755)
    done = runner(tmp_path, "perf")
    assert done.returncode == 8
    assert done.stderr == (
        "error: made for test-x86, this CPU lacks warp_drive\n"
        " hint: build it with a --target that fits this machine\n"
    )
    assert runner(tmp_path, "info").returncode == 0


def test_the_runner_can_check_every_feature_a_profile_names() -> None:
    table = (SOURCES / "cpu.c").read_text()
    for name in profiles.names():
        profile = profiles.load(name)
        if profile.machine == "x86_64":
            assert [f for f in profile.features if f'"{f}"' not in table] == [], name


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
    for source in sorted(SOURCES.glob("*.c")):
        assert max(map(len, source.read_text().splitlines())) <= 100, source.name
        flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *warnings)
        command = ["gcc", *flags, "-D_GNU_SOURCE", "-I.", "-c", str(source), "-o", "object.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
