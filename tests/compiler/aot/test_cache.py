"""Machine code that was made before: the same bytes, verified, shared by all kernels of a shape."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.aot import functions
from edgekiln.compiler.aot.build import build
from edgekiln.compiler.aot.cache import ObjectCache
from edgekiln.compiler.kernels.spec import Code
from edgekiln.compiler.program import Program
from tests.compiler.aot import tiny


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(root=tmp_path / "compiled")


def signed() -> Program:
    """A program whose code need not be made to be known."""
    program = tiny.program()
    calls = (
        replace(call, code=Code(emit=call.code.emit, signature=f"{i:x}" * 64))
        for i, call in enumerate(program.calls)
    )
    return replace(program, calls=tuple(calls))


def refuse(*_: object) -> None:
    raise AssertionError("compiled again")


def test_a_warm_build_compiles_nothing_and_gives_the_bytes_of_a_cold_one(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = signed()
    cold = build(program, tiny.PROFILE, cache)
    assert cold == build(program, tiny.PROFILE)
    monkeypatch.setattr(functions, "compile_function", refuse)
    unmade = [replace(call, code=replace(call.code, emit=refuse)) for call in program.calls]
    assert build(replace(program, calls=tuple(unmade)), tiny.PROFILE, cache) == cold


def test_another_target_or_code_generator_compiles_anew(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = signed()
    functions.compile_functions(program, tiny.PROFILE.tvm, cache)
    monkeypatch.setattr(functions, "compile_function", refuse)
    functions.compile_functions(program, tiny.PROFILE.tvm, cache)
    with pytest.raises(AssertionError, match="compiled again"):
        functions.compile_functions(program, {**tiny.PROFILE.tvm, "mcpu": "haswell"}, cache)
    monkeypatch.setattr(functions, "kernels_sha256", lambda: "changed")
    with pytest.raises(AssertionError, match="compiled again"):
        functions.compile_functions(program, tiny.PROFILE.tvm, cache)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_entry_is_made_again(cache: ObjectCache, damage: bytes | None) -> None:
    whole = build(signed(), tiny.PROFILE, cache)
    assert cache.root is not None
    for entry in cache.root.iterdir():
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 1
        entry.write_bytes(content if damage is None else damage)
    assert build(signed(), tiny.PROFILE, cache) == whole


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ObjectCache(root=tmp_path / "file" / "compiled")
    cache.put("k", b"content")
    assert cache.get("k") is None


def test_a_writer_leaves_nothing_but_its_entry(cache: ObjectCache) -> None:
    cache.put("k", b"first")
    cache.put("k", b"second")
    assert cache.get("k") == b"second"
    assert cache.root is not None
    assert [path.name for path in cache.root.iterdir()] == ["k"]
