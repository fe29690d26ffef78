"""Damaged and forged files end in one EdgeKilnError, or in a right result; never in anything else.

Every case is made from its number alone. More of them, and others:

    EDGEKILN_FUZZ_CASES=10000 EDGEKILN_FUZZ_SEED=1 pytest tests/runtime/test_fuzz.py
"""

import io
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekiln.runtime
from edgekiln.runtime import bundle, text
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.documents import Output
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.inputs import load_input
from edgekiln.runtime.manifest import Preprocessing, TensorSpec
from tests.runtime.conftest import toy_sums

CASES = int(os.environ.get("EDGEKILN_FUZZ_CASES", "300"))
SEED = int(os.environ.get("EDGEKILN_FUZZ_SEED", "0"))
MAX_GROWTH = 5 << 28  # bytes, a little above the limit of an input

Draw = np.random.Generator

IMAGE = TensorSpec(
    name="x", shape=(1, 3, 6, 6), dtype="float32", preprocessing=Preprocessing(scale=0.5)
)
ODD: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**63, 2**200, -(2**40), 1e308, -0.5, 1e-320, True, None, "", "x", "../x",
    "\0", "float32", "object", "é" * 50, [], [0], [[[[]]]], [-1, 2, 3, 4], [1 << 40] * 8, {},
    {"a": 1},
)  # fmt: skip


@contextmanager
def bounded() -> Iterator[None]:
    """Fails when the block takes much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MAX_GROWTH


def damaged(content: bytes, draw: Draw) -> bytes:
    """One to four of: bits flipped, bytes replaced, cut out, doubled, cut off, or filled in."""
    changed = bytearray(content)
    for _ in range(draw.integers(1, 5)):
        start = int(draw.integers(0, len(changed) + 1))
        # Headers are short and matter: half of all damage is done to the first bytes.
        start = start % 600 if draw.random() < 0.5 else start
        length = int(draw.choice([1, 1, 1, 4, 8, 32, 512]))
        match draw.integers(6):
            case 0 if start < len(changed):
                changed[start] ^= 1 << int(draw.integers(8))
            case 1:
                fill = draw.choice([0x00, 0xFF, 0x7F, 0x80, 0x20, 0x39])
                changed[start : start + length] = bytes([int(fill)]) * length
            case 2:
                del changed[start : start + length]
            case 3:
                changed[start:start] = changed[start : start + length]
            case 4:
                del changed[start:]
            case _:
                changed[start : start + length] = draw.bytes(length)
    return bytes(changed)


def forged(document: Any, draw: Draw) -> Any:
    """The JSON value with something at a random place replaced, dropped, doubled or renamed."""
    if draw.random() < 0.15 or not isinstance(document, dict | list) or not document:
        return ODD[draw.integers(len(ODD))]
    if isinstance(document, list):
        index = int(draw.integers(len(document)))
        if draw.random() < 0.1:
            return document[:index] + document[index + 1 :] * int(draw.integers(1, 3))
        return [*document[:index], forged(document[index], draw), *document[index + 1 :]]
    key = sorted(document)[draw.integers(len(document))]
    rest = {name: value for name, value in document.items() if name != key}
    if draw.random() < 0.05:
        return rest
    if draw.random() < 0.05:
        return {**rest, key + "_": document[key]}
    return {**rest, key: forged(document[key], draw)}


def cases() -> Iterator[tuple[int, Draw]]:
    for number in range(CASES):
        yield number, np.random.default_rng((SEED, number))


def attempt(action: Callable[[], object], what: str) -> bool:
    """Whether it went through; everything but an EdgeKilnError of two lines fails the test."""
    try:
        action()
    except EdgeKilnError as error:
        if "\n" in error.message:
            raise AssertionError(f"{what}: {error.message!r} has several lines") from error
        return False
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error
    return True


def test_damaged_bundles_are_refused(toy_bundle: Callable[..., Path]) -> None:
    path = toy_bundle(extra={"report.json": b"{}"})
    whole = path.read_bytes()
    with bounded():
        for number, draw in cases():
            content = damaged(whole, draw)
            path.write_bytes(content)
            if attempt(lambda: edgekiln.runtime.load(path), f"bundle case {number}"):
                # An archive may end in any number of zeros.
                assert content.rstrip(b"\0") == whole.rstrip(b"\0"), number


def test_resealed_bundles_are_refused_or_right(toy_bundle: Callable[..., Path]) -> None:
    """Whoever forges a manifest can make it fit its hashes: what it says must still hold."""
    path = toy_bundle()
    files = dict(bundle.read_tar(path))
    honest = json.loads(files["manifest.json"])
    x = np.random.default_rng(0).uniform(0, 200, (1, 3, 4, 4)).astype(np.float32)
    accepted = 0
    with bounded():
        for number, draw in cases():
            manifest = json.dumps(forged(honest, draw)).encode()
            sealed = {**files, "manifest.json": manifest}
            sealed[bundle.SEAL] = bundle.seal(manifest)
            bundle.write_tar(path, sealed, executable=set())

            def use() -> None:
                nonlocal accepted
                opened = Bundle.open(path)
                list(text.bundle_lines(opened))
                program = edgekiln.runtime.load(path)
                y = program(x)
                assert isinstance(y, np.ndarray)
                np.testing.assert_array_equal(y.reshape(-1), toy_sums(x).reshape(-1))
                (spec,) = program.runner.outputs
                list(text.output_lines(spec, y))
                Output.of(spec, y)
                accepted += 1

            attempt(use, f"manifest case {number}")
    assert accepted < CASES


def samples(kind: str) -> bytes:
    """A right file of each kind."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    if kind in ("npy", "npz"):
        x = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        np.save(stream, x) if kind == "npy" else np.savez_compressed(stream, x=x, other=pixels)
    else:
        image = pytest.importorskip("PIL.Image")
        deep = {"tif": pixels[..., 0].astype(np.float32) / 255, "pgm": pixels[..., 0]}
        image.fromarray(deep.get(kind, pixels)).save(
            stream, {"tif": "TIFF", "pgm": "PPM"}.get(kind, kind)
        )
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz", "png", "tif", "gif", "bmp", "webp", "jpeg", "pgm"])
def test_damaged_inputs_are_refused_or_arrays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    whole = samples(kind)
    path.write_bytes(whole)
    assert load_input(path, IMAGE).shape == IMAGE.shape
    with bounded():
        for number, draw in cases():
            path.write_bytes(damaged(whole, draw))

            def use() -> None:
                array = load_input(path, IMAGE)
                assert array.shape[1:] == IMAGE.shape[1:]
                assert array.dtype == np.float32

            attempt(use, f"{kind} case {number}")
