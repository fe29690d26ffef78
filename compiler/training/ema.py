"""Exponential moving average of a network's weights: what is evaluated and kept."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Ema:
    """Averages parameters and floating-point buffers; integer buffers are copied.

    Batch norm's statistics are averaged too: they must fit the averaged weights.
    """

    def __init__(self, module: "nn.Module", decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {name: t.detach().clone() for name, t in module.state_dict().items()}
        # A mask's infinities have no average: one minus itself is NaN.
        self._averaged = [
            name
            for name, tensor in self.state.items()
            if tensor.is_floating_point() and bool(tensor.isfinite().all())
        ]

    def update(self, module: "nn.Module") -> None:
        """Move towards `module`; young averages move faster, to forget the random start."""
        import torch

        self.updates += 1
        # TensorFlow's rule for `num_updates`: 2/11 at first, 0.9 after 80 updates, 0.98 after 440.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = module.state_dict()
        means = [self.state[name] for name in self._averaged]
        tensors = [current[name] for name in self._averaged]
        # All at once: a network has hundreds of tensors, most of them of a few numbers.
        torch._foreach_lerp_(means, tensors, 1 - decay)
        for name in self.state.keys() - set(self._averaged):
            self.state[name].copy_(current[name])

    def state_dict(self) -> "dict[str, int | dict[str, Tensor]]":
        """Everything `load_state_dict` needs."""
        return {"updates": self.updates, "state": self.state}

    def load_state_dict(self, saved: dict[str, "int | dict[str, Tensor]"]) -> None:
        """Continue where `saved` stopped."""
        updates, state = saved["updates"], saved["state"]
        assert isinstance(updates, int)
        assert isinstance(state, dict)
        self.updates = updates
        for name, tensor in state.items():
            self.state[name].copy_(tensor)
