"""A depthwise convolution of bytes in pairs: fewer instructions than words, where the weights allow
it.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.depthwise.plan import InterleavedPlan
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.x86_pairs import MOST_OF_PAIR


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedDepthwiseKernel(DepthwiseKernel):
    """A depthwise convolution whose products are added two by two in 16 bits, exactly.

    Three image rows are a chunk, and the weight of the second one lies in two places, so that
    neither pair of a column is too large; see `InterleavedByteMicroKernel`.
    """

    SIGNED_AS: ClassVar[str] = "PairedDepthwise"

    def _plan(self, mk: MicroKernel) -> InterleavedPlan:
        assert mk.paired_depthwise
        return InterleavedPlan(self, mk.paired_depthwise)

    @classmethod
    def of(cls, conv: DepthwiseKernel) -> Self:
        """The same convolution."""
        return cls(**{field.name: getattr(conv, field.name) for field in fields(conv)})


def in_pairs(conv: DepthwiseKernel, mk: MicroKernel) -> DepthwiseKernel:
    """The convolution of bytes in pairs where all of its weights allow that, else as it is."""
    paired = mk.paired_depthwise
    if paired is None or conv.weight.dtype != np.int8:
        return conv
    sizes = np.abs(conv.weight.astype(np.int16))
    # The rows of a chunk, as `InterleavedPlan` cuts the filter.
    starts = np.arange(0, sizes.shape[2], paired.k_step)
    columns = np.add.reduceat(sizes, starts, axis=2)
    return PairedDepthwiseKernel.of(conv) if columns.max() <= 2 * MOST_OF_PAIR else conv
