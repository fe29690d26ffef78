"""Parameters and multiply-accumulates of a module, as they remain once batch norms are folded."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    Hook = Callable[[nn.Module, tuple[Tensor], Tensor], None]  # called after a layer


@dataclass(frozen=True, kw_only=True)
class ModuleCosts:
    """What one inference with batch 1 costs."""

    parameters: int
    macs: int
    # By layer name: how often each weight of a convolution or linear layer is used, so that the
    # layer's MACs are uses times weights. Cutting channels leaves it as it is.
    uses: Mapping[str, int] = field(default_factory=dict)


def count(module: "nn.Module", *example: "Tensor") -> ModuleCosts:
    """Run `module` once, in evaluation mode, on `example`, (1, …) an input, and count.

    MACs are those of convolutions, linear layers and matrix products, attention's among them;
    element-wise work is not counted. A batch norm right behind a convolution or linear layer is
    folded into it and costs that layer a bias; any other keeps a scale and an offset a channel.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    watch = _Watch()
    training = module.training
    flops = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), watch.hooked(module.eval()), _plain_attention(), flops:
            module(*example)
    finally:
        module.train(training)
    return ModuleCosts(
        parameters=sum(p.numel() for p in module.parameters()) - watch.folded,
        # It counts a multiplication and an addition as two.
        macs=flops.get_total_flops() // 2,
        uses=watch.uses,
    )


class _Watch:
    """Sees each layer's call."""

    def __init__(self) -> None:
        self.uses: dict[str, int] = {}
        self.folded = 0  # parameters that vanish with the batch norms
        # Output → the layer it came from. Holding the tensors keeps their ids from being reused.
        self._makers: dict[int, tuple[Tensor, nn.Module]] = {}

    @contextmanager
    def hooked(self, module: "nn.Module") -> Iterator[None]:
        """Watch the layers of `module` inside."""
        from torch import nn
        from torch.nn.modules.batchnorm import _BatchNorm
        from torch.nn.modules.conv import _ConvNd

        handles = []
        for name, layer in module.named_modules():
            if isinstance(layer, _ConvNd | nn.Linear):
                handles.append(layer.register_forward_hook(self._weighted(name)))
            elif isinstance(layer, _BatchNorm):
                handles.append(layer.register_forward_hook(self._normalized))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _weighted(self, name: str) -> "Hook":
        def hook(layer: "nn.Module", inputs: "tuple[Tensor]", output: "Tensor") -> None:
            # A transposed convolution uses each weight once an input pixel, others once an output.
            grid = inputs[0] if getattr(layer, "transposed", False) else output
            width = getattr(layer, "in_channels" if grid is inputs[0] else "out_channels", None)
            uses = grid.numel() // (width or output.shape[-1])
            self.uses[name] = self.uses.get(name, 0) + uses
            self._makers[id(output)] = (output, layer)

        return hook

    def _normalized(self, norm: "nn.Module", inputs: "tuple[Tensor]", _output: "Tensor") -> None:
        _, maker = self._makers.get(id(inputs[0]), (None, None))
        own = sum(p.numel() for p in norm.parameters())
        if maker is not None:
            # Its scale goes into the layer's weights and its offset into the layer's bias: a layer
            # that has none gets one, of `num_features` numbers.
            has_bias = maker.bias is not None
            self.folded += own - (0 if has_bias else int(norm.num_features))  # type: ignore[arg-type]


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products: fused kernels are not counted on CPUs."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
