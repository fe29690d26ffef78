"""The whole inputs that are damaged: small models, and what the tool itself makes of them."""

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from edgekiln.benchmarks.command import command
from edgekiln.benchmarks.tflite.network import network

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Small, for a case must be fast, and yet of most kinds of kernel.
_IMAGES = """
  a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
  r = Relu (a)
  m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8> (m, w2, b1)
  h = HardSwish (c)
  s = Add (h, m)
  v = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (s)
  k = Concat <axis = 1> (v, v)
  p = GlobalAveragePool (k)
  f = Flatten (p)
  g = Gemm <transB = 1> (f, w3, b3)
  y = Softmax <axis = -1> (g)
"""
_TOKENS = """
  n = LayerNormalization <axis = -1> (x, scale, bias)
  q = MatMul (n, wq)
  t = Transpose <perm = [0, 2, 1]> (n)
  s = MatMul (q, t)
  p = Softmax <axis = -1> (s)
  o = MatMul (p, n)
  d = Slice (o, starts, ends, axes)
  u = Clip (d, low, high)
  e = Sigmoid (u)
  z = Mul (e, d)
  y = Reshape (z, shape)
"""
_RECIPE = """
data = "digits"
seed = 3
skip = ["distill"]

[prune]
ratio = 0.5
importance = "taylor"

[quantize]
calibration = "mse"
samples = 64

[compile]
compact = true
"""
_TARGET = """
name = "mine"
extends = "cortex-m4"
description = "a board"

[memory]
flash-bytes = 100000
ram-bytes = 50000

[tvm]
mcpu = "cortex-m4"
"""
_CONFIG = """
[defaults]
targets = ["x86-64-v3", "rpi5"]
bench-seconds = 0.05

[defaults.gates]
max-accuracy-drop = 0.5
if-unmeasured = "skip"

[models.resnet8]
gates = { min-accuracy = 0.95, max-arena-bytes = 65_536 }
"""


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Files in a directory, whole and working; `store` is the store that has made them."""

    home: Path
    store: Path

    def content(self, name: str) -> bytes:
        return (self.home / name).read_bytes()


def make(home: Path, store: Path) -> Seeds:
    """Write every seed. The models are the same for every run."""
    rng = np.random.default_rng(0)
    _write_models(home, rng)
    _write_data(home, rng)
    _write_texts(home)
    (home / "int8.tflite").write_bytes(network(np.random.default_rng(0)).file)
    write_exported(home / "float.pt2")
    data = f"{home / 'data.npz'}?scale=0.0078125&mean=1&std=1"
    _do("quantize", home / "images.onnx", "-o", home / "int8.onnx", "--data", data)
    _do("compile", home / "int8.onnx", "-o", home / "int8.lib", "--target", "host")
    _do("package", home / "int8.lib", "-o", home / "int8.ekb", "--target", "host")
    return Seeds(home=home, store=store)


def write_exported(path: Path) -> None:
    """A small network as `torch.export.save` writes it; it takes (1, 3, 12, 12)."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(800, 10)
    )
    program = torch.export.export(net.eval(), (torch.rand(1, 3, 12, 12),))
    torch.export.save(program, path)


def _do(*words: object) -> None:
    code, said = command(*words)
    assert code == 0, said


def _write_models(home: Path, rng: np.random.Generator) -> None:
    images = {
        "w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "w3": (10, 16), "b3": (10,),
    }  # fmt: skip
    _write_model(home / "images.onnx", _IMAGES, "1, 3, 12, 12", "1, 10", images, {}, rng)
    numbers: dict[str, NDArray[np.generic]] = {
        "starts": np.array([0]), "ends": np.array([4]), "axes": np.array([1]),
        "shape": np.array([1, 64]),
        "low": np.array(-1, np.float32), "high": np.array(1, np.float32),
    }  # fmt: skip
    tokens = {"scale": (16,), "bias": (16,), "wq": (16, 16)}
    _write_model(home / "tokens.onnx", _TOKENS, "1, 6, 16", "1, 64", tokens, numbers, rng)


def _write_model(
    path: Path,
    body: str,
    x: str,
    y: str,
    weights: Mapping[str, tuple[int, ...]],
    numbers: "Mapping[str, NDArray[np.generic]]",
    rng: np.random.Generator,
) -> None:
    head = '<ir_version: 8, opset_import: ["" : 20]>'
    text = f"{head}\nm (float[{x}] x) => (float[{y}] y) {{{body}}}"
    model = onnx.parser.parse_model(text)
    arrays = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in weights.items()}
    for name, array in (arrays | dict(numbers)).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    # The shapes inside are written, too, so that they can be damaged.
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _write_data(home: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    x = rng.integers(0, 256, (60, 12, 12, 3), np.uint8)
    labels = np.arange(60) % 10
    np.savez(home / "data.npz", x=x, y=labels)
    np.save(home / "one.npy", x[0])
    np.save(home / "floats.npy", rng.normal(0, 1, (1, 3, 12, 12)).astype(np.float32))
    for name in ("one.png", "one.tiff", "one.jpg", "one.bmp"):
        Image.fromarray(x[0]).save(home / name)
    grey = Image.fromarray(rng.integers(0, 65536, (12, 12), np.uint16))
    grey.save(home / "grey16.png")
    _write_idx(home, x[..., 0], labels)
    _write_cifar(home, rng)


def _write_idx(home: Path, images: "NDArray[np.uint8]", labels: "NDArray[np.int64]") -> None:
    count, height, width = images.shape
    # The magic numbers of IDX: 0x0803 and 0x0801, unsigned bytes on three axes and on one.
    head = struct.pack(">IIII", 2051, count, height, width)
    (home / "train-images-idx3-ubyte").write_bytes(head + images.tobytes())
    head = struct.pack(">II", 2049, count)
    (home / "train-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())


def _write_cifar(home: Path, rng: np.random.Generator) -> None:
    """CIFAR-100's three files, in the version for Python."""
    names = {b"fine_label_names": [f"class {i}".encode() for i in range(100)]}
    parts = {
        part: {
            b"data": rng.integers(0, 256, (200, 3072), np.uint8),
            b"fine_labels": [*range(100)] * 2,
        }
        for part in ("train", "test")
    }
    for name, content in {"meta": names, **parts}.items():
        (home / name).write_bytes(pickle.dumps(content, protocol=2))


def _write_texts(home: Path) -> None:
    (home / "recipe.toml").write_text(_RECIPE, encoding="utf-8")
    (home / "target.toml").write_text(_TARGET, encoding="utf-8")
    (home / "edgekiln.toml").write_text(_CONFIG, encoding="utf-8")
