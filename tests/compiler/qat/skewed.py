"""A network that 8 bits a tensor break: channels of very different size behind a hard-swish."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

from edgekiln.compiler.qat.float_teacher import ends_of_model
from edgekiln.compiler.qat.network import QuantizedNetwork
from edgekiln.models.data.dataset import Split
from tests.compiler.float_models import make, write
from tests.compiler.training.conftest import stripes

CHANNELS = 24
_BODY = f"""
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, aw, ab)
    ha = HardSwish (a)
    d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = {CHANNELS}> (ha, dw, db)
    hd = HardSwish (d)
    p = Conv <kernel_shape = [1, 1]> (hd, pw, pb)
    r = Relu (p)
    g = GlobalAveragePool (r)
    f = Flatten (g)
    y = Gemm <transB = 1> (f, fw, fb)
"""


class SkewedNet(nn.Module):
    """Starts with channels that differ by 2^16 between its first layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.d = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        self.p = nn.Conv2d(CHANNELS, 16, 1)
        self.f = nn.Linear(16, 4)
        sizes = torch.linspace(-8, 8, CHANNELS).exp2()[:, None, None, None]
        with torch.no_grad():
            self.a.weight.mul_(3 * sizes)
            self.d.weight.mul_(3 / sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = F.hardswish(self.d(F.hardswish(self.a(x))))
        answer: torch.Tensor = self.f(F.relu(self.p(wide)).mean((2, 3)))
        return answer


@dataclass(frozen=True)
class Stripes:
    """Noisy pictures of four classes: what to train on, and 2000 to judge by."""

    spec: str
    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor

    def accuracy(self, model: onnx.ModelProto) -> float:
        """Percent of the test samples that a quantized model tells."""
        network = QuantizedNetwork(model, ends=ends_of_model(model))
        with torch.no_grad():
            (logits,) = network(self.x_test).values()
        return 100 * float((logits.argmax(1) == self.y_test).float().mean())


def striped(folder: Path) -> Stripes:
    train, test = stripes(1000, 0), stripes(2000, 1)
    path = folder / "stripes.npz"
    np.savez(path, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    spec = f"{path}?color=L&scale=0.0039215686&mean=0&std=1"
    return Stripes(spec, *_tensors(train), *_tensors(test))


def _tensors(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    x = np.ascontiguousarray(split.x.transpose(0, 3, 1, 2))
    return torch.from_numpy(x / 255).float(), torch.from_numpy(split.y)


def trained_net(data: Stripes, epochs: int) -> SkewedNet:
    torch.manual_seed(0)
    net, batch = SkewedNet(), 32
    steps = len(data.x) // batch
    optimizer = torch.optim.Adam(net.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(data.x))
        for start in range(0, steps * batch, batch):
            chosen = order[start : start + batch]
            optimizer.zero_grad()
            loss = F.cross_entropy(net(data.x[chosen]), data.y[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
    return net.eval()


def skewed_model(net: SkewedNet, path: Path) -> Path:
    """The network as a float ONNX file."""
    arrays = {
        f"{layer}{kind[0]}": getattr(getattr(net, layer), kind).detach().numpy()
        for layer in "adpf"
        for kind in ("weight", "bias")
    }
    return write(make(_BODY, {}, x="N, 1, 8, 8", y="N, 4", constants=arrays), path)
