"""Files of `torch.export.save`, and what an attacker makes of them."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

Document = dict[str, Any]  # JSON
PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class SmallNet(nn.Module):
    """A convolution, batch norm, a pool, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(pooled)  # type: ignore[no-any-return]


class QuantizedDense(nn.Module):
    """A dense layer as PT2E writes it: per-channel weights, per-tensor values, a float bias."""

    def __init__(self) -> None:
        super().__init__()
        from torch.ao.quantization.fx import _decomposed  # noqa: F401

        generator = torch.Generator().manual_seed(3)
        codes = torch.randint(-127, 128, (4, 16), dtype=torch.int8, generator=generator)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", torch.tensor([0.01, 0.02, 0.015, 0.03]))
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))
        self.register_buffer("bias", torch.tensor([0.1, -0.2, 0.3, 0.4]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ops = torch.ops.quantized_decomposed
        codes = ops.quantize_per_tensor(x, 0.02, 3, -128, 127, torch.int8)
        x = ops.dequantize_per_tensor(codes, 0.02, 3, -128, 127, torch.int8)
        weight = ops.dequantize_per_channel(
            self.codes, self.scales, self.zeros, 0, -128, 127, torch.int8
        )
        y = nn.functional.linear(x, weight, self.bias)
        codes = ops.quantize_per_tensor(y, 0.2, -5, -128, 127, torch.int8)
        return ops.dequantize_per_tensor(codes, 0.2, -5, -128, 127, torch.int8)  # type: ignore[no-any-return]


def image(batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def saved(
    module: nn.Module,
    path: Path,
    *inputs: torch.Tensor,
    **options: Any,  # of torch.export.export
) -> Path:
    torch.export.save(torch.export.export(module.eval(), inputs or (image(),), **options), path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {each.filename.partition("/")[2]: archive.read(each) for each in archive.infolist()}


def write(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(f"model/{name}", data)
    return path


def altered(path: Path, name: str, change: Callable[[Document], object]) -> Path:
    """The same file, one of its documents changed in place."""
    content = members(path)
    document: Document = json.loads(content[name])
    change(document)
    content[name] = json.dumps(document).encode()
    return write(path.with_name("altered.pt2"), content)


def pickle_that_writes(path: Path) -> bytes:
    """A file of `torch.save` that, unpickled, makes a file."""

    class Opens:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return (open, (str(path), "w"))

    stream = io.BytesIO()
    torch.save((Opens(),), stream)
    return stream.getvalue()
