"""Whoever forges a manifest can make it fit its hashes: what it says is checked, too."""

from dataclasses import replace

import pytest

from edgekiln.runtime import manifest
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError
from tests.runtime.conftest import TOY


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"schema": 1, "report": ' + "[" * 100_000, "nested deeper than 64"),
        ('{"schema": 1, "report": ' + "[" * 70 + "]" * 70 + "}", "nested deeper than 64"),
        ('{"schema": 1, "report": NaN}', "nan is no number of JSON's"),
        ('{"schema": 1, "report": 1e999}', "inf is no number of JSON's"),
        ('{"schema": 1, "report": "\\ud800"}', "surrogates not allowed"),
        ('{"schema": ' + "9" * 5000 + "}", "limit"),
    ],
)
def test_json_that_would_break_its_readers_is_refused(text, problem):
    with pytest.raises(BundleError, match=problem):
        manifest.from_json(manifest.Manifest, text, "m")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"inputs": (replace(TOY.inputs[0], shape=(1, -1, 4, 4)),)}, "a negative extent"),
        ({"inputs": (replace(TOY.inputs[0], shape=(1 << 30, 1 << 30)),)}, "than any memory"),
        ({"inputs": (replace(TOY.inputs[0], dtype="object"),)}, "dtype 'object' is none of"),
        ({"outputs": (replace(TOY.outputs[0], scale=0.0),)}, "scale 0.0 is not above 0"),
        ({"arena_bytes": -1}, "arena_bytes is negative"),
        ({"layers": (replace(TOY.layers[0], offset=1 << 20),)}, "outside the arena"),
        ({"layers": (replace(TOY.layers[0], halo=(0, 0, 0, -1)),)}, "a count is negative"),
        ({"layers": (replace(TOY.layers[0], layout="plain"),)}, "a border, and no image"),
    ],
)
def test_a_resealed_bundle_with_impossible_numbers_is_refused(toy_bundle, changes, problem):
    path = toy_bundle(**changes)
    with pytest.raises(BundleError, match=problem) as caught:
        Bundle.open(path)
    assert caught.value.hint
