"""Every JSON document the runtime writes has a schema, and both say the same."""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.documents import runtime_schemas
from edgekiln.runtime import __main__ as front
from edgekiln.runtime import bench, manifest
from edgekiln.runtime.codec import to_json
from edgekiln.runtime.hints import (
    Hint,
    MappingHint,
    RecordHint,
    TupleHint,
    UnionHint,
    fields_of,
    hint_of,
    may_be_absent,
)
from edgekiln.runtime.manifest import Manifest, ProgramSpec
from edgekiln.runtime.results import BenchResult
from tests.runtime.conftest import TOY, toy_sums

HOME = Path(__file__).parents[2] / "runtime/schemas"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in HOME.iterdir())
X = np.random.default_rng(0).uniform(0, 200, (1, 3, 4, 4)).astype(np.float32)


def schema(name: str) -> dict[str, Any]:
    return json.loads((HOME / f"{name}.schema.json").read_text())


def validate(name: str, text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    resources = [
        (f"{each}.schema.json", referencing.Resource.from_contents(schema(each))) for each in NAMES
    ]
    registry = referencing.Registry().with_resources(resources)
    jsonschema.Draft202012Validator(schema(name), registry=registry).validate(json.loads(text))


@pytest.fixture
def measured(toy_bundle, toy_runner):
    files = {
        "runner": toy_runner,
        "example/input_0.bin": X.tobytes(),
        "example/output_0.bin": toy_sums(X).astype(np.float32).tobytes(),
    }
    return toy_bundle(extra=files)


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert schema(name)["title"]


def test_a_manifest_fits_its_schema():
    document = Manifest(
        program=TOY, files={"a": "b"}, provenance=({"stage": "x"},), report={"r": 1}
    )
    validate("manifest", manifest.text_of(document))
    validate("program", manifest.text_of(TOY))


def test_a_benchmark_fits_its_schema(measured):
    result = bench.bench(measured, trials=2, min_seconds=0.01, profile=True)
    validate("bench", to_json(result))


def test_what_the_front_prints_fits_its_schemas(measured, tmp_path, capsys):
    np.save(tmp_path / "x.npy", X)
    for name, arguments in {
        "bench-set": ["bench", "--trials", "1", "--min-seconds", "0.01"],
        "run": ["run", "--input", str(tmp_path / "x.npy")],
        "check": ["check"],
        "manifest": ["info"],
    }.items():
        command, *options = arguments
        assert front.main([command, str(measured), *options, "--json"]) == 0
        validate(name, capsys.readouterr().out)


def test_the_schemas_are_those_of_the_types():
    """After a change: python -m edgekiln.compiler.documents.runtime_schemas"""
    shipped = {path.name: path.read_text() for path in HOME.iterdir()}
    assert shipped == runtime_schemas.texts()


def test_fields_are_described_by_their_comments():
    layer = schema("manifest")["$defs"]["Layer"]["properties"]
    assert layer["kernel"]["description"] == "C symbol."
    assert layer["offset"]["description"].startswith("Where the result lies after the call")
    assert layer["halo"]["description"] == "Top, left, bottom, right border in memory, in pixels."
    assert "description" not in layer["macs"]


def nested(hint: Hint) -> Iterator[type]:
    match hint:
        case RecordHint(kind=kind):
            yield kind
            parts = tuple(fields_of(kind).values())
        case UnionHint(members=parts) | TupleHint(items=parts):
            pass
        case MappingHint(value=part):
            parts = (part,)
        case _:
            parts = ()
    for part in parts:
        yield from nested(part)


@pytest.mark.parametrize(
    ("name", "kind"), [("bench", BenchResult), ("manifest", Manifest), ("program", ProgramSpec)]
)
def test_schemas_have_the_fields_of_their_types(name, kind):
    document = schema(name)
    parts = set(nested(hint_of(kind)))
    assert kind in parts
    for part in parts:
        described = document if part is kind else document["$defs"][part.__name__]
        wanted = {field.name for field in fields(part)}
        if part is ProgramSpec and part is kind:
            wanted |= {"schema"}  # the file's own key
        assert set(described["properties"]) == wanted
        assert set(described["required"]) == wanted - may_be_absent(part)
        assert described["additionalProperties"] is False
