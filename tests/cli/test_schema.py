"""Every JSON that a command prints is what `edgekiln schema` says it is."""

import json
from collections.abc import Callable

import jsonschema
import pytest
from click.testing import Result

from edgekiln.compiler.cli.documents import DOCUMENTS
from edgekiln.compiler.documents.json_schema import document_schema

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["targets", "list"], "edgekiln.targets/1"),
        (["targets", "show", "host"], "edgekiln.targets/1"),
        (["targets", "detect"], "edgekiln.detect/1"),
        (["models", "list"], "edgekiln.models/1"),
        (["cache", "ls"], "edgekiln.cache/1"),
        (["cache", "gc"], "edgekiln.cache-gc/1"),
        (["doctor"], "edgekiln.doctor/1"),
        (["export", "resnet8", "-o", "r8.onnx", "--samples", "2"], "edgekiln.stage/1"),
    ],
)
def test_a_document_is_valid(cli: Cli, arguments: list[str], name: str) -> None:
    document = json.loads(cli(*arguments, "--json").stdout)
    schema = json.loads(cli("schema", name).stdout)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_a_schema(name: str) -> None:
    schema = document_schema(name, DOCUMENTS[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["schema"] == {"const": name}


def test_the_list_names_every_document(cli: Cli) -> None:
    listed = [line.split()[0] for line in cli("schema").stdout.splitlines()]
    assert listed == list(DOCUMENTS)


def test_a_wrong_name_gets_a_suggestion(cli: Cli) -> None:
    result = cli("schema", "edgekiln.build")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: no document named 'edgekiln.build'\n hint: did you mean edgekiln.build/1?\n",
    )
