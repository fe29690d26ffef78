"""Random small QDQ networks, by a seed."""

from pathlib import Path

from tests.compiler.random_nets.moves import Moves
from tests.compiler.random_nets.products import Products


class RandomNet(Products, Moves):
    """Operators upon each other, with odd sizes, scales and zero points; what nobody reads is an
    output.

    Args:
        steps: operators, or small groups of them, at most; some when None.
        words: most codes have 16 bits.
        narrow: weights have four bits.
    """

    def __init__(
        self, seed: int, steps: int | None = None, words: bool = False, narrow: bool = False
    ) -> None:
        super().__init__(seed, words, narrow)
        for number in range(self.any_of((1, 1, 1, 2))):
            self.input(f"x{number}")
        for _ in range(steps or self.upto(7, 2)):
            self._step()

    def _step(self) -> None:
        steps = (
            *[self.conv] * 12, *[self.residual] * 4, *[self.function] * 3, *[self.pool] * 3,
            *[self.concat, self.gemm, self.binary] * 2, self.global_pool, self.softmax,
            self.resize, self.pad, self.slice, self.split, self.transpose, self.reshape,
            self.blocks, self.reduce, self.attention, self.layer_norm, self.conv1d, self.gather,
            self.arg, self.spread, self.conv_transpose, self.shuffle, self.prelu, self.gate,
        )  # fmt: skip
        # Most need a value of some rank: where there is none, another operator's turn it is.
        any(self.any_of(steps)() for _ in range(40))

    def save(self, path: Path) -> Path:
        read = {name for node in self.model.nodes for name in node.input}
        loose = [value.name for value in self.values if value.name not in read]
        return self.model.save(path, *loose, *self.ends)
