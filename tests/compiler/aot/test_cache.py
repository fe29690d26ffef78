"""Machine code that was made before: the same bytes, verified, shared by all kernels of a shape."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.aot import codegen, functions
from edgekiln.compiler.aot.backends import hosted
from edgekiln.compiler.aot.build import build
from edgekiln.compiler.aot.codegen import Compiled
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.program import Program
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.compiler.aot import tiny
from tests.compiler.qdq_models import QdqModel


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


def refuse(*_: object) -> Compiled:
    raise AssertionError("compiled again")


refuse.__module__ = codegen.__name__  # in whose place it stands


def test_a_warm_build_compiles_nothing_and_gives_the_bytes_of_a_cold_one(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = signed()
    cold = build(program, tiny.PROFILE, cache)
    assert cold == build(program, tiny.PROFILE)
    monkeypatch.setattr(hosted, "compile_function", refuse)
    unmade = [replace(call, code=replace(call.code, emit=refuse)) for call in program.calls]
    assert build(replace(program, calls=tuple(unmade)), tiny.PROFILE, cache) == cold


def test_another_target_or_code_generator_compiles_anew(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = signed()
    tvm_target = tiny.PROFILE.tvm
    functions.compile_functions(program, tvm_target, hosted.compile_function, cache)
    functions.compile_functions(program, tvm_target, refuse, cache)
    with pytest.raises(AssertionError, match="compiled again"):
        functions.compile_functions(program, {**tvm_target, "mcpu": "haswell"}, refuse, cache)
    monkeypatch.setattr(functions, "code_sha256", lambda *_modules: "changed")
    with pytest.raises(AssertionError, match="compiled again"):
        functions.compile_functions(program, tvm_target, refuse, cache)


def test_a_second_models_runner_is_made_of_the_objects_of_the_first_ones(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = signed()
    build(first, tiny.PROFILE, cache)
    compiled: list[str] = []
    run = Compiler._cc

    def noted(self: Compiler, *args: str) -> str:
        if "-c" in args:
            compiled.append(args[args.index("-c") + 1])
        return run(self, *args)

    monkeypatch.setattr(Compiler, "_cc", noted)
    shorter = replace(first, name="other", calls=first.calls[:-1])
    assert len(first.calls) > len(shorter.calls) > 0
    build(shorter, tiny.PROFILE, cache)
    own = {"model.c", "identity.c", "weights.S", "program.S"}
    assert set(compiled) == own


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_entry_is_made_again(cache: ObjectCache, damage: bytes | None) -> None:
    whole = build(signed(), tiny.PROFILE, cache)
    assert cache.root is not None
    for entry in cache.root.iterdir():
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 1
        entry.write_bytes(content if damage is None else damage)
    assert build(signed(), tiny.PROFILE, cache) == whole


def test_an_entry_in_the_place_of_another_is_made_again(cache: ObjectCache) -> None:
    whole = build(signed(), tiny.PROFILE, cache)
    assert cache.root is not None
    entries = sorted(cache.root.iterdir())
    contents = [entry.read_bytes() for entry in entries]
    for entry, content in zip(entries, contents[1:] + contents[:1], strict=True):
        entry.write_bytes(content)
    assert build(signed(), tiny.PROFILE, cache) == whole
    assert [entry.read_bytes() for entry in entries] == contents


def test_a_damaged_entry_that_cannot_be_removed_is_not_taken(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("k", b"content")
    assert cache.root is not None
    (cache.root / "k").write_bytes((cache.root / "k").read_bytes()[:-1] + b"!")

    def refuse_to_remove(path: Path, **_: bool) -> None:
        raise PermissionError(f"{path} is somebody else's")

    monkeypatch.setattr(Path, "unlink", refuse_to_remove)
    assert cache.get("k") is None


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


def test_readers_beside_writers_see_whole_entries_or_none(cache: ObjectCache) -> None:
    content = bytes(range(256)) * 400

    def work(turn: int) -> bool:
        cache.put("k", content)
        return cache.get("k") in (None, content) and turn >= 0

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(64)))
    assert cache.get("k") == content


def test_other_weights_compile_without_tvm(tmp_path: Path) -> None:
    """What a warm compilation of a network does: in a process that cannot import TVM."""
    target = profile.load("x86-64-v3")
    objects = tmp_path / "compiled"
    cold, warm = (_network(tmp_path / f"{seed}.onnx", seed) for seed in (1, 2))
    context = StageContext(target=target, scratch=tmp_path, objects=objects)
    CompileStage().run(artifacts.of(cold), tmp_path / "cold.lib", context)
    before = len(list(objects.iterdir()))
    code = (
        "import sys; from pathlib import Path; sys.modules['tvm'] = None;"
        "from edgekiln.compiler.pipeline.artifact import Artifact;"
        "from edgekiln.compiler.pipeline.stage import StageContext;"
        "from edgekiln.compiler.stages.compile import CompileStage;"
        "from edgekiln.targets import profile;"
        "model, lib, objects = map(Path, sys.argv[1:]);"
        "context = StageContext(target=profile.load('x86-64-v3'), scratch=Path(), objects=objects);"
        "CompileStage().run(Artifact.of_file(model, 'onnx-int8'), lib, context)"
    )
    lib = tmp_path / "warm.lib"
    subprocess.run([sys.executable, "-c", code, warm, lib, objects], check=True)
    assert len(list(objects.iterdir())) <= before + 2  # model.c and identity.c may differ
    CompileStage().run(
        artifacts.of(warm), tmp_path / "again.lib", StageContext(target=target, scratch=tmp_path)
    )
    assert lib.read_bytes() == (tmp_path / "again.lib").read_bytes()


def _network(path: Path, seed: int) -> Path:
    """A convolution, a pool and a dense layer, whose weights and scales come from `seed`."""
    m = QdqModel(seed=seed)
    x = m.q(m.input("x", 1, 8, 6, 6), scale=0.02 * seed, zero=seed)
    a = m.q(m.conv(x, 16, 8, 3, 3, out="a", pads=[1, 1, 1, 1]), 0.3 * seed, 4 - seed)
    pool = m.q(m.op("GlobalAveragePool", a, out="pool"), scale=0.4 * seed, zero=-128)
    return m.save(path, m.q(m.conv(pool, 10, 16, 1, 1, out="c"), 0.9, 4))
