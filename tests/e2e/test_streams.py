"""A model that remembers, all the way: as a newcomer types it, on each kind of device."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.onnx_model import io
from edgekiln.runtime.bundle import Bundle, ProgramFile, example_name, read_tar, write_lib
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.device.qemu import QemuDevice
from edgekiln.runtime.errors import MismatchError
from edgekiln.runtime.example_check import check_example as check_here
from edgekiln.runtime.program import load
from edgekiln.runtime.text import bundle_lines
from edgekiln.targets import profile
from tests import emulated
from tests.compiler import stateful

HOST = "x86-64-v3"


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a user has, and what `build` made of it."""

    home: Path
    table: str

    def bundle(self, target: str = HOST) -> Path:
        return self.home / "dist" / f"lstm-{target}.ekb"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(edgekiln, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    home = tmp_path_factory.mktemp("streams")
    io.save_model(stateful.plain("lstm"), home / "lstm.onnx")
    data = stateful.streams("lstm", home / "streams.npy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKILN_STORE", str(home / "store"))
        yield Project(home=home, table=build(home, data, HOST))


def build(home: Path, data: Path, target: str) -> str:
    return run(
        "build", home / "lstm.onnx", "--calibrate", data, "--out", home / "dist",
        "--bench-seconds", 0, "--target", target,
    )  # fmt: skip


def test_the_build_says_what_it_found(project: Project) -> None:
    assert "states: h0=hn, c0=cn (by their names" in " ".join(project.table.split())
    assert "SQNR" in project.table


def test_the_header_tells_a_c_user_what_is_kept(project: Project) -> None:
    header = read_tar(project.bundle())["model.h"].decode()
    assert "void model_reset(void *arena);" in header
    assert "keeps its state in the arena" in header
    assert " *   h0: uint8 1x1x16, real = (q - " in header
    assert "#define MODEL_INPUT_COUNT 1" in header
    assert "#define MODEL_STATE_COUNT 2" in header


def test_info_tells_what_is_kept(project: Project) -> None:
    lines = [line.split() for line in bundle_lines(Bundle.open(project.bundle()))]
    assert ["keeps", "h0:", "uint8", "1×1×16"] in lines
    assert ["keeps", "c0:", "float32", "1×1×16"] in lines


CALLER = r"""
#include <stdio.h>
#include <string.h>
#include "model.h"
static _Alignas(MODEL_ALIGN) unsigned char arenas[2][(MODEL_ARENA_BYTES + 63) / 64 * 64];
static _Alignas(MODEL_ALIGN) unsigned char in[MODEL_INPUT_0_BYTES + MODEL_OVERREAD_BYTES];
static _Alignas(MODEL_ALIGN) unsigned char out[MODEL_OUTPUT_0_BYTES + MODEL_OVERREAD_BYTES];
/* Two streams in turn, the second one step behind; what lay in the arenas before is nothing. */
int main(void) {
    memset(arenas, 0xa5, sizeof arenas);
    for (int stream = 0; stream < 2; stream++) model_reset(arenas[stream]);
    while (fread(in, 1, MODEL_INPUT_0_BYTES, stdin) == MODEL_INPUT_0_BYTES) {
        for (int stream = 0; stream < 2; stream++) {
            const void *const inputs[] = {in};
            if (model_run(inputs, (void *const[]){out}, arenas[stream])) return 1;
            fwrite(out, 1, MODEL_OUTPUT_0_BYTES, stdout);
        }
    }
    return 0;
}
"""


def test_a_c_user_runs_two_streams_in_two_arenas(project: Project, tmp_path: Path) -> None:
    files = read_tar(project.bundle())
    for name in ("model.h", "libmodel.a"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "caller.c").write_text(CALLER)
    command = ["gcc", "caller.c", "libmodel.a", "-lm", "-o", "caller"]
    subprocess.run(command, cwd=tmp_path, check=True)
    x = stateful.stream("lstm", seed=9)
    done = subprocess.run([tmp_path / "caller"], input=x.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.float32).reshape(len(x), 2, 3)
    (expected,) = load(project.bundle()).steps(x)
    for stream in range(2):
        np.testing.assert_array_equal(found[:, stream], expected)


def test_run_takes_the_steps_of_a_stream(project: Project, tmp_path: Path) -> None:
    x = stateful.stream("lstm", seed=4)
    np.save(tmp_path / "x.npy", x[:, 0])
    out = tmp_path / "y.npy"
    for _ in range(2):  # each time from its beginning
        run("run", project.bundle(), "--input", tmp_path / "x.npy", "--output", out)
        (expected,) = load(project.bundle()).steps(x)
        np.testing.assert_array_equal(np.load(out), expected)


def test_verify_holds_whole_streams_against_onnx_runtime(project: Project) -> None:
    document = json.loads(run("verify", project.bundle(), "--json", "--samples", 24))
    assert document["identical"]
    assert document["samples"] == 24
    assert [layer["op"] for layer in document["layers"]].count("recurrent") == 1


def test_the_runner_keeps_and_measures_a_stream(project: Project, tmp_path: Path) -> None:
    (tmp_path / "runner").write_bytes(read_tar(project.bundle())["runner"])
    (tmp_path / "runner").chmod(0o755)
    x = stateful.stream("lstm", seed=4)
    (tmp_path / "x.bin").write_bytes(x.tobytes())
    command = [str(tmp_path / "runner"), "run", "--input", "x.bin", "--output", "y.bin"]
    for threads in ("1", "2"):
        subprocess.run([*command, "--threads", threads], cwd=tmp_path, check=True)
        found = np.frombuffer((tmp_path / "y.bin").read_bytes(), np.float32).reshape(-1, 3)
        (expected,) = load(project.bundle()).steps(x)
        np.testing.assert_array_equal(found, expected)
    short = ("--trials", "1", "--min-seconds", "0.01", "--warmup-seconds", "0", "--json")
    perf = [str(tmp_path / "runner"), "perf", "--input", "x.bin", *short]
    done = subprocess.run(perf, cwd=tmp_path, check=True, capture_output=True)
    assert json.loads(done.stdout)["trials"][0]["inferences"] > 0


def test_the_example_has_steps_which_tell_who_forgets(project: Project) -> None:
    raw = ProgramFile.open(project.bundle()).files[example_name("output", 0)]
    steps = np.frombuffer(raw, np.float32).reshape(8, 3)
    assert len(np.unique(steps, axis=0)) == 8
    with LocalDevice() as device:
        assert check_example(project.bundle(), device) == ("y",)


@pytest.mark.parametrize("target", ["rpi5", "cortex-m55"])
def test_other_devices_remember_the_same_bits(project: Project, target: str) -> None:
    emulated.require(profile.load(target))
    build(project.home, project.home / "streams.npy", target)
    with QemuDevice() as device:
        assert check_example(project.bundle(target), device) == ("y",)
    bits = [
        ProgramFile.open(project.bundle(name)).files[example_name("output", 0)]
        for name in (HOST, target)
    ]
    if target == "rpi5":  # the other one gives codes
        assert bits[0] == bits[1]


def test_an_example_of_another_stream_is_found_out(project: Project, tmp_path: Path) -> None:

    assert check_here(project.bundle()) == ["y"]
    path = tmp_path / "changed.lib"
    files = dict(ProgramFile.open(project.bundle()).files)
    name = example_name("output", 0)
    damaged = bytearray(files[name])
    damaged[-1] ^= 1  # of the last step
    files[name] = bytes(damaged)
    kept = {key: content for key, content in files.items() if not key.startswith("manifest")}
    write_lib(path, kept)
    with pytest.raises(MismatchError, match="output 'y' differs"):
        check_here(path)
    with LocalDevice() as device, pytest.raises(MismatchError, match="output 0 of step 7 differs"):
        check_example(path, device)


def test_streams_that_are_none_are_refused(project: Project, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((40, 1, stateful.WIDTH), np.float32))
    result = CliRunner().invoke(
        edgekiln,
        ["build", str(project.home / "lstm.onnx"), "--calibrate", str(tmp_path / "rows.npy"),
         "--out", str(tmp_path)],
    )  # fmt: skip
    assert result.exit_code == 3
    assert "the model remembers and takes streams" in result.output
    assert "?steps=64" in result.output
