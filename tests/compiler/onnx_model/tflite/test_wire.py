"""Flatbuffers from strangers: read as they are, or refused in words, and never for long."""

import random
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks.tflite.network import network
from edgekiln.compiler.onnx_model.io import load_model
from edgekiln.compiler.onnx_model.tflite import schema
from edgekiln.compiler.onnx_model.tflite.model import parse
from edgekiln.compiler.onnx_model.tflite.wire import Field, FileTable, NoTablesError, root
from edgekiln.runtime.errors import EdgeKilnError, InputError

MOST = 1 << 28
NUMBERS: Mapping[str, Field] = {
    "a": Field(slot=0, kind="i32", default=7),
    "b": Field(slot=1, kind="u8"),
    "c": Field(slot=2, kind="f32", default=0.5),
}


def whole() -> bytes:
    return network(np.random.default_rng(0)).file


def table(*slots: int, body: bytes = b"") -> FileTable:
    """A file of one table whose vtable has these offsets, and bytes behind the table's own."""
    vtable = struct.pack(f"<HH{len(slots)}H", 4 + 2 * len(slots), 4 + len(body), *slots)
    head = struct.pack("<I4s", 8 + len(vtable), b"TEST")
    return root(head + vtable + struct.pack("<i", len(vtable)) + body, NUMBERS, b"TEST")


def test_fields_are_read_and_those_left_out_have_defaults() -> None:
    found = table(4, 0, body=struct.pack("<i", -5))
    assert found.integer("a") == -5
    assert found.integer("b") == 0
    assert found.real("c") == 0.5


def test_a_field_behind_the_end_of_the_file_is_damage() -> None:
    with pytest.raises(NoTablesError, match="points outside of itself"):
        table(400).integer("a")


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="'TFL3' at its fifth byte"):
        parse(b"\x08\0\0\0ONNX" + bytes(64), "x.tflite", MOST)


@pytest.mark.parametrize("length", [0, 3, 7, 8, 40, 200, 1000])
def test_a_file_that_was_cut_short_is_refused(length: int) -> None:
    with pytest.raises(InputError, match=r"^x\.tflite: not a TFLite file: "):
        parse(whole()[:length], "x.tflite", MOST)


def test_a_vector_that_shows_itself_again_and_again_ends_soon() -> None:
    """64 KiB, in which thousands of operators are one operator with thousands of operands."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    operands = builder.CreateNumpyVector(np.full(8000, -1, np.int32))
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(1, operands, 0)
    operator = builder.EndObject()
    builder.StartVector(4, 8000, 4)
    for _ in range(8000):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    fields = schema.SUBGRAPH
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(fields["operators"].slot, operators, 0)
    graph = builder.EndObject()
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    builder.StartObject(1)
    code = builder.EndObject()
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(code)
    codes = builder.EndVector()
    builder.StartObject(5)
    builder.PrependUint32Slot(0, schema.VERSION, 0)
    builder.PrependUOffsetTRelativeSlot(1, codes, 0)
    builder.PrependUOffsetTRelativeSlot(2, graphs, 0)
    builder.Finish(builder.EndObject(), schema.IDENTIFIER)
    start = time.perf_counter()
    with pytest.raises(InputError, match="its parts overlap"):
        parse(bytes(builder.Output()), "x.tflite", MOST)
    assert time.perf_counter() - start < 5


def test_damaged_files_are_read_or_refused_in_words(tmp_path: Path) -> None:
    content, draw = whole(), random.Random(0)
    path = tmp_path / "damaged.tflite"
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.choice([0, 1, 127, 128, 255])
        path.write_bytes(damaged)
        try:
            load_model(path)
        except EdgeKilnError as error:
            outcomes.add(f"refused {bool(error.message)}")
        else:
            outcomes.add("read")
    assert outcomes == {"read", "refused True"}
