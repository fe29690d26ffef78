"""What is damaged, how, and what must come of it: one entry a kind of input."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.benchmarks.command import command
from edgekiln.benchmarks.fuzz.mutate import (
    damaged_archive,
    damaged_bytes,
    damaged_model,
    damaged_text,
)
from edgekiln.benchmarks.fuzz.seeds import Seeds
from edgekiln.benchmarks.isolated import Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.ort_runner import OrtRunner

Answer = tuple[Verdict, str]
Damage = Callable[[bytes, random.Random], bytes]

# Files that make a data set together: MNIST's and CIFAR-100's.
FAMILIES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("train", "test", "meta"),
)
_BUG = 1  # the exit code of a bug of ours
_CLOSE = 1e-3  # of the largest value: floats summed in another order


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`seeds` are damaged by `damage` to a file of the same name, which `judge` hands to the tool.

    `judge` is called in a process of its own with the damaged file, an empty directory to work in
    and the whole seeds.
    """

    seeds: tuple[str, ...]
    damage: Damage
    judge: Callable[[Path, Path, Seeds], Answer]


def _answer(code: int, words: str) -> Answer:
    if code == _BUG:
        return "traceback", words
    return ("refused", words) if code else ("right", "")


def _compiled(file: Path, home: Path, seeds: Seeds) -> Answer:
    """Compiled for this machine, it computes what ONNX Runtime computes; what ONNX Runtime refuses
    is refused.
    """
    del seeds
    lib = home / "model.lib"
    code, words = command("compile", file, "-o", lib)
    if code:
        return _answer(code, words)
    return _against_onnxruntime(file, lib)


def _read_as_onnx(file: Path, home: Path, seeds: Seeds) -> Answer:
    """A program computes what the ONNX model does that its file (.tflite, .pt2) is read as."""
    from edgekiln.compiler.onnx_model import door, io

    del seeds
    lib, model = home / "model.lib", home / "model.onnx"
    code, words = command("compile", file, "-o", lib)
    if code:
        return _answer(code, words)
    io.save_model(door.enter(file).model, model)
    return _against_onnxruntime(model, lib)


def _against_onnxruntime(model: Path, lib: Path) -> Answer:
    from edgekiln.benchmarks.sanitizer.block import MemoryFaultError
    from edgekiln.benchmarks.sanitizer.program import check_here
    from edgekiln.runtime.bundle import read_program
    from edgekiln.runtime.errors import InputError

    try:
        reference = _reference(model)
    except InputError as error:
        return "wrong", f"accepted what ONNX Runtime refuses: {error.message}"
    rng = np.random.default_rng(0)
    spec, _ = read_program(lib)
    inputs = [_random(tensor.shape, tensor.dtype, rng) for tensor in spec.inputs]
    try:
        expected = reference.run(*inputs)
    except Exception as error:  # its exception classes share no base of their own
        return "wrong", f"accepted what ONNX Runtime cannot run: {error}"
    try:
        found = check_here(lib, model, inputs)
    except MemoryFaultError as fault:
        return "wrong", f"the program {fault}"
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return "wrong", f"{ours.dtype}{ours.shape} for {theirs.dtype}{theirs.shape}"
        if not _close(ours, theirs):
            with np.errstate(all="ignore"):
                off = np.nanmax(np.abs(ours.astype("float64") - theirs.astype("float64")))
            return "wrong", f"off by {off:.3g}"
    return "right", ""


def _reference(model: Path) -> "OrtRunner":
    """ONNX Runtime has no kernels of half floats for some operators that ONNX defines with them;
    such a model is taken in float32, in which programs compute.

    Raises:
        InputError: it refuses the model.
    """
    import onnx

    from edgekiln.compiler.onnx_model.half import to_float32
    from edgekiln.runtime.errors import InputError
    from edgekiln.runtime.ort_runner import OrtRunner

    try:
        return OrtRunner(model, optimization="basic")
    except InputError as error:
        wide = onnx.load(model)
        if "NOT_IMPLEMENTED" not in error.message or not to_float32(wide):
            raise
    return OrtRunner(wide.SerializeToString(), optimization="basic")


def _random(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> "NDArray[np.generic]":
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1, shape).astype(dtype)
    # 0 and 1 are truth values, and rows of any table.
    return rng.integers(0, 2, shape).astype(dtype)


def _close(ours: "NDArray[np.generic]", theirs: "NDArray[np.generic]") -> bool:
    a, b = (array.astype(np.float64) for array in (ours, theirs))
    finite = np.isfinite(b)
    largest = float(np.abs(b[finite]).max(initial=0.0))
    # Some codes of a quantized seed may be rounded the other way.
    return np.allclose(a, b, rtol=0.02, atol=_CLOSE + 0.03 * largest, equal_nan=True)


def _quantized(file: Path, home: Path, seeds: Seeds) -> Answer:
    data = f"{seeds.home / 'data.npz'}?scale=0.0078125&mean=1&std=1"
    return _answer(*command("quantize", file, "-o", home / "int8.onnx", "--data", data))


def _calibrated(file: Path, home: Path, seeds: Seeds) -> Answer:
    model = seeds.home / "images.onnx"
    data = f"{file}?scale=0.0078125&mean=1&std=1"
    return _answer(*command("quantize", model, "-o", home / "int8.onnx", "--data", data))


def _folder(file: Path, home: Path, seeds: Seeds) -> Answer:
    """A data set's directory in which one file is damaged."""
    from edgekiln.models import data

    folder = home / "data"
    folder.mkdir()
    family = next(names for names in FAMILIES if file.name in names)
    for name in family:
        shutil.copy(file if name == file.name else seeds.home / name, folder / name)
    return _read(lambda: data.load(str(folder)))


def _program(file: Path, home: Path, seeds: Seeds) -> Answer:
    """A bundle gives the whole one's results, or is refused."""
    out = home / "out.npy"
    code, words = command("run", file, "--input", seeds.home / "one.npy", "--output", out)
    if code:
        return _answer(code, words)
    whole = home / "whole.npy"
    bundle = seeds.home / "int8.ekb"
    command("run", bundle, "--input", seeds.home / "one.npy", "--output", whole)
    same = np.array_equal(np.load(out), np.load(whole))
    return ("right", "") if same else ("wrong", "ran damaged, with other results")


def _library(file: Path, home: Path, seeds: Seeds) -> Answer:
    """A library becomes the whole one's bundle, or is refused."""
    out = home / "out.ekb"
    code, words = command("package", file, "-o", out, "--target", "host")
    if code:
        return _answer(code, words)
    same = out.read_bytes() == seeds.content("int8.ekb")
    return ("right", "") if same else ("wrong", "packed a damaged library")


def _input(file: Path, home: Path, seeds: Seeds) -> Answer:
    del home
    return _answer(*command("run", seeds.home / "int8.ekb", "--input", file))


def _recipe(file: Path, home: Path, seeds: Seeds) -> Answer:
    from edgekiln.compiler.build import recipe

    del home, seeds
    return _read(lambda: recipe.load(file))


def _config(file: Path, home: Path, seeds: Seeds) -> Answer:
    from edgekiln.compiler.ci import config

    del home, seeds
    return _read(lambda: config.load(file))


def _read(reader: Callable[[], object]) -> Answer:
    from edgekiln.runtime.errors import EdgeKilnError

    try:
        reader()
    except EdgeKilnError as error:
        return "refused", error.message
    return "right", ""


def _target(file: Path, home: Path, seeds: Seeds) -> Answer:
    del home, seeds
    return _answer(*command("targets", "show", file))


def _store(file: Path, home: Path, seeds: Seeds) -> Answer:
    """One file of a copy of the store is damaged: what is made from it is as before, or refused."""
    import os

    store = home / "store"
    shutil.copytree(seeds.store, store)
    os.environ["EDGEKILN_STORE"] = str(store)
    # The case's own file decides what is damaged, so that a case can be run again.
    rng = random.Random(file.read_bytes())
    entries = sorted(p for p in store.rglob("*") if p.is_file() and p.stat().st_size)
    victim = rng.choice(entries)
    # Records are JSON: where words are exchanged in them, they stay JSON more often.
    damage = damaged_text if victim.suffix == ".json" else damaged_bytes
    victim.write_bytes(damage(victim.read_bytes(), rng))
    out = home / "again.lib"
    code, words = command("compile", seeds.home / "int8.onnx", "-o", out, "--target", "host")
    if code:
        return _answer(code, words)
    same = out.read_bytes() == seeds.content("int8.lib")
    place = victim.relative_to(store)
    return ("right", "") if same else ("wrong", f"another library, after damage to {place}")


KINDS = {
    "onnx": Kind(
        seeds=("images.onnx", "tokens.onnx", "int8.onnx"), damage=damaged_model, judge=_compiled
    ),
    "tflite": Kind(seeds=("int8.tflite",), damage=damaged_bytes, judge=_read_as_onnx),
    "exported": Kind(seeds=("float.pt2",), damage=damaged_archive, judge=_read_as_onnx),
    "quantize": Kind(seeds=("images.onnx",), damage=damaged_model, judge=_quantized),
    "bundle": Kind(seeds=("int8.ekb",), damage=damaged_bytes, judge=_program),
    "library": Kind(seeds=("int8.lib",), damage=damaged_bytes, judge=_library),
    "data": Kind(seeds=("data.npz",), damage=damaged_bytes, judge=_calibrated),
    "folder": Kind(
        seeds=tuple(name for names in FAMILIES for name in names),
        damage=damaged_bytes,
        judge=_folder,
    ),
    "input": Kind(
        seeds=("one.npy", "floats.npy", "one.png", "one.tiff", "one.jpg", "one.bmp", "grey16.png"),
        damage=damaged_bytes,
        judge=_input,
    ),
    "recipe": Kind(seeds=("recipe.toml",), damage=damaged_text, judge=_recipe),
    "target": Kind(seeds=("target.toml",), damage=damaged_text, judge=_target),
    "config": Kind(seeds=("edgekiln.toml",), damage=damaged_text, judge=_config),
    "store": Kind(seeds=("one.npy",), damage=damaged_bytes, judge=_store),
}
