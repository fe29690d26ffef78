import json
from dataclasses import replace

import numpy as np
import pytest

from edgekiln.runtime import codec, manifest
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.manifest import Manifest, ProgramSpec
from tests.runtime.conftest import TOY

DOCUMENT = Manifest(
    program=TOY,
    files={"program.json": "ab"},
    provenance=({"stage": "export", "options": {"opset": 18}},),
    report={"accuracy": 0.5, "notes": ["é"]},
)


def damaged(change: str, value: object) -> str:
    """DOCUMENT's text with the value at a dotted place replaced, or removed (None)."""
    data = json.loads(manifest.text_of(DOCUMENT))
    *way, last = change.split(".")
    place = data
    for key in way:
        place = place[int(key) if key.isdigit() else key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


def test_documents_survive_json():
    assert manifest.from_json(Manifest, manifest.text_of(DOCUMENT), "m") == DOCUMENT
    assert manifest.from_json(ProgramSpec, manifest.text_of(TOY).encode(), "p") == TOY


def test_numpy_numbers_become_plain_ones():
    layer = replace(TOY.layers[1], macs=np.int64(48))
    tensor = TOY.layers[0].output
    assert tensor is not None
    output = replace(tensor, scale=np.float32(0.1), shape=(np.int32(1),))
    spec = replace(TOY, layers=(replace(layer, output=output),))
    read = manifest.from_json(ProgramSpec, manifest.text_of(spec), "p")
    assert read.layers[0].output.scale == float(np.float32(0.1))
    assert read == spec


def test_a_whole_number_is_a_float_too():
    text = damaged("program.inputs.0.preprocessing.scale", 1)
    scale = manifest.from_json(Manifest, text, "m").program.inputs[0].preprocessing.scale
    assert scale == 1.0
    assert isinstance(scale, float)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "m.json: not JSON"),
        ("[]", "m.json: has no schema version"),
        (damaged("schema", None), "m.json: has no schema version"),
        (damaged("schema", 2), "m.json: schema version 2, this EdgeKiln reads 1"),
        (damaged("program.isa", None), "m.json: program: missing 'isa'"),
        (damaged("program.chip", "x"), "m.json: program: unknown 'chip'"),
        (damaged("program.layers.1.macs", "7"), "m.json: program.layers[1].macs: wanted int"),
        (
            damaged("program.layers.1.integer", 0),
            "program.layers[1].integer: wanted bool, found int",
        ),
        (damaged("program.layers.0.halo", [1, 2]), "layers[0].halo: wanted 4 items, found 2"),
        (damaged("files", []), "m.json: files: wanted dict, found list"),
        (damaged("files.program~json", 3), "m.json: files.program~json: wanted str, found int"),
    ],
)
def test_a_damaged_manifest_is_refused_by_the_place_of_the_damage(text, problem):
    with pytest.raises(BundleError) as caught:
        manifest.from_json(Manifest, text, "m.json")
    assert problem in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 8


def test_what_has_no_json_form_is_a_bug_of_ours():
    with pytest.raises(TypeError, match="object has no JSON form"):
        codec.encode({"x": object()})


@pytest.mark.parametrize(
    ("change", "value", "problem"),
    [
        ("scale", 1e308, "preprocessing has a number that float32 does not hold"),
        ("scale", 3e38, "preprocessing makes numbers that float32 does not hold"),
        ("mean", [-1e39], "preprocessing has a number that float32 does not hold"),
        ("std", [1e-60], "preprocessing divides by a std of 0"),
        ("std", [0], "preprocessing divides by a std of 0"),
        ("std", [1e-40], "preprocessing makes numbers that float32 does not hold"),
    ],
)
def test_preprocessing_that_ends_in_infinity_is_refused(change, value, problem):
    text = damaged(f"program.inputs.0.preprocessing.{change}", value)
    with pytest.raises(BundleError, match=problem):
        manifest.from_json(Manifest, text, "m")


@pytest.mark.parametrize("scale", [1e308, 1e-60, 0])
def test_a_scale_that_float32_does_not_hold_is_refused(scale):
    text = damaged("program.inputs.0.scale", scale)
    with pytest.raises(BundleError, match="is not above 0, as float32 has it"):
        manifest.from_json(Manifest, text, "m")
