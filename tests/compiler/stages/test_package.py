import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.packaging import licences
from edgekiln.compiler.packaging.report import StageReport
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.package import PackageStage
from edgekiln.models.data import load as load_data
from edgekiln.runtime import bundle, load, manifest, trust
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.manifest import Preprocessing
from tests.compiler import artifacts
from tests.runtime.conftest import FIXTURES, TOY, toy_files, toy_sums

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "libmodel.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", path, FIXTURES / "model.c"], check=True)
    return path.read_bytes()


@pytest.fixture
def lib(tmp_path, library):
    def write(**changes):
        files = toy_files(**changes) | {"libmodel.so": library, "runner": b"#!/bin/sh\n"}
        bundle.write_lib(tmp_path / "toy.lib", files)
        return tmp_path / "toy.lib"

    return write


def packed(lib, tmp_path, chain=(), **options):
    context = StageContext(scratch=tmp_path)
    src = replace(artifacts.of(lib), chain=chain)
    PackageStage(**options).run(src, tmp_path / "toy.ekb", context)
    return Bundle.open(tmp_path / "toy.ekb"), context


def test_a_machine_that_demands_signatures_runs_no_library_of_others(lib, tmp_path, monkeypatch):
    """Its example would be computed by foreign code, which nobody signs before it is a bundle."""
    policy = tmp_path / "allowed_signers"
    policy.write_text("")
    monkeypatch.setattr(trust, "POLICY", policy)
    with pytest.raises(BundleError, match="runs only what allowed_signers has signed"):
        packed(lib(), tmp_path, ({"stage": "input", "kind": "lib"},))
    assert not (tmp_path / "toy.ekb").exists()
    packed(lib(), tmp_path, ({"stage": "compile"},))  # what was compiled here


def test_a_bundle_holds_the_program_and_says_what_it_is(lib, tmp_path):
    chain = ({"stage": "compile", "options": {"batch": 1}},)
    steps = (StageReport(stage="compile", sha256="ab", file_bytes=5, notes=("said",)),)
    opened, context = packed(lib(), tmp_path, chain, steps=steps)
    assert opened.program == TOY
    assert opened.manifest.provenance == chain
    report = json.loads(opened.files["report.json"])
    assert report == opened.manifest.report
    assert [(step["stage"], step["notes"]) for step in report["steps"]] == [("compile", ["said"])]
    assert report["sizes"]["arena_bytes"] == TOY.arena_bytes
    assert report["sizes"]["files"]["libmodel.so"] == len(opened.files["libmodel.so"])
    assert set(opened.files) == {
        "LICENSES/Apache-2.0.txt",
        "LICENSES/LGPL-2.1.txt",
        "LICENSES/NOTICE.txt",
        "example/input_0.bin",
        "example/output_0.bin",
        "libmodel.so",
        "manifest.json",
        "manifest.json.sha256",
        "program.json",
        "report.json",
        "runner",
    }
    assert context.notes == []


def test_the_example_is_what_the_program_computes(lib, tmp_path):
    opened, _ = packed(lib(), tmp_path, seed=3)
    x = opened.example("input", 0, TOY.inputs[0])
    y = opened.example("output", 0, TOY.outputs[0])
    np.testing.assert_array_equal(y, toy_sums(x))
    np.testing.assert_array_equal(load(opened.path)(x), y)
    example = json.loads(opened.files["report.json"])["example"]
    assert example == {"input": "random, seed 3", "no_expected_output": ""}


def test_data_gives_the_first_test_sample(lib, tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(60) % 3)
    spec = f"{tmp_path / 'd.npz'}"
    opened, _ = packed(lib(), tmp_path, data=spec)

    first = load_data(spec, 0).test.x[0].transpose(2, 0, 1) * np.float32(0.5)
    np.testing.assert_array_equal(opened.example("input", 0, TOY.inputs[0])[0], first)


def test_data_tells_a_program_without_metadata_how_to_take_images(lib, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(60) % 3)
    bare = {
        "inputs": (replace(TOY.inputs[0], preprocessing=None),),
        "outputs": (replace(TOY.outputs[0], labels=()),),
    }
    opened, _ = packed(lib(**bare), tmp_path, data=f"{tmp_path / 'd.npz'}?scale=0.25&mean=0&std=1")
    given, result = opened.program.inputs[0], opened.program.outputs[0]
    assert given.preprocessing.scale == 0.25
    assert len(result.labels) == 3
    expected = toy_sums(images.transpose(0, 3, 1, 2) * np.float32(0.25))
    np.testing.assert_array_equal(load(opened.path)(images), expected)


def test_data_of_another_size_is_refused(lib, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((60, 5, 5, 3), np.uint8), y=np.arange(60) % 3)
    with pytest.raises(InputError, match=r"shape \(3, 5, 5\), the model takes \(3, 4, 4\)"):
        packed(lib(), tmp_path, data=str(tmp_path / "d.npz"))
    assert not (tmp_path / "toy.ekb").exists()


def test_a_program_for_another_machine_is_packed_without_its_answer(lib, tmp_path):
    opened, context = packed(lib(machine="m68k", target="amiga"), tmp_path)
    assert "example/input_0.bin" in opened.files
    assert "example/output_0.bin" not in opened.files
    assert context.notes[0].startswith("no expected output: toy: made for m68k (amiga)")
    assert opened.manifest.report["example"]["no_expected_output"]


def test_integer_inputs_get_integers(lib, tmp_path):
    quantized = replace(TOY.inputs[0], dtype="int8", scale=0.1, zero_point=0, preprocessing=None)
    opened, _ = packed(lib(inputs=(quantized,), machine="m68k"), tmp_path)
    x = opened.example("input", 0, quantized)
    assert x.dtype == np.int8
    assert x.min() < 0 < x.max()


def test_the_same_inputs_give_the_same_bytes_anywhere(lib, tmp_path):
    opened, _ = packed(lib(), tmp_path)
    elsewhere = tmp_path / "elsewhere/deeper"
    elsewhere.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path\n"
        "from edgekiln.compiler.pipeline.artifact import Artifact\n"
        "from edgekiln.compiler.pipeline.stage import StageContext\n"
        "from edgekiln.compiler.stages.package import PackageStage\n"
        "src = Artifact.of_file(Path(sys.argv[1]), 'lib')\n"
        "PackageStage().run(src, Path('x.ekb'), StageContext(scratch=Path()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "99", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-c", code, str(tmp_path / "toy.lib")]
    subprocess.run(command, check=True, cwd=elsewhere, env=environment)
    assert (elsewhere / "x.ekb").read_bytes() == opened.path.read_bytes()


def test_licences_name_what_is_linked_in(lib, tmp_path):
    opened, _ = packed(lib(), tmp_path)
    notice = opened.files["LICENSES/NOTICE.txt"].decode()
    assert "GNU C Library" in notice
    assert "Nothing of TVM" in notice
    assert b"GNU LESSER GENERAL PUBLIC LICENSE" in opened.files["LICENSES/LGPL-2.1.txt"]
    without_runner = licences.notices({"libmodel.a", "model.h"})
    assert "LICENSES/LGPL-2.1.txt" not in without_runner
    assert b"GNU C Library" not in without_runner["LICENSES/NOTICE.txt"]


def test_the_licence_we_ship_is_our_licence():
    shipped = licences.notices(())["LICENSES/Apache-2.0.txt"]
    assert shipped == (ROOT / "LICENSE").read_bytes()


def test_a_damaged_program_is_refused(lib, tmp_path):
    path = lib()
    path.write_bytes(path.read_bytes()[:700])

    with pytest.raises(BundleError, match=r"toy\.lib: "):
        packed(path, tmp_path)
    assert not (tmp_path / "toy.ekb").exists()


def test_the_manifest_names_the_input_s_preprocessing(lib, tmp_path):
    opened, _ = packed(lib(), tmp_path)
    text = opened.files["manifest.json"]
    read = manifest.from_json(manifest.Manifest, text, "m")
    assert read.program.inputs[0].preprocessing == Preprocessing(scale=0.5)


def test_data_fills_one_input_only(lib, tmp_path):
    two = (TOY.inputs[0], replace(TOY.inputs[0], name="z"))
    with pytest.raises(
        InputError, match="digits fills one input, the model takes float32"
    ) as caught:
        packed(lib(inputs=two, machine="m68k"), tmp_path, data="digits")
    assert "give samples by these names" in caught.value.hint


def test_a_batch_larger_than_the_test_split_is_refused(lib, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((60, 4, 4, 3), np.uint8), y=np.arange(60) % 3)
    wide = replace(TOY.inputs[0], shape=(64, 3, 4, 4))
    with pytest.raises(InputError, match=r"test samples, the program takes 64 at once"):
        packed(lib(inputs=(wide,), machine="m68k"), tmp_path, data=str(tmp_path / "d.npz"))
