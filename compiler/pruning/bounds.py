"""A bound on how far torch-pruning follows channels.

It follows them from layer to layer until nothing new turns up. Where two branches are multiplied as
matrices (second-order pooling) its indices grow at each turn, and it never ends. What is counted
here is indices and not seconds, so the same network is always judged alike.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

MOST_INDICES = 2_000_000  # some seconds and 200 MB; a group of ResNet-50 takes some 50,000


class TooManyIndicesError(Exception):
    """The indices of a group do not end, or are too many."""

    def __init__(self) -> None:
        super().__init__(f"they spread over more than {MOST_INDICES:,} indices")


class IndexAllowance:
    """How many indices may still be followed."""

    def __init__(self) -> None:
        self._left = MOST_INDICES

    def refill(self) -> None:
        """Begin another group."""
        self._left = MOST_INDICES

    def spend(self, indices: int) -> None:
        """Raises TooManyIndicesError when there are no more."""
        self._left -= indices
        if self._left < 0:
            raise TooManyIndicesError


def bound(graph: Any, allowance: IndexAllowance) -> None:  # torch-pruning's, untyped
    """Let torch-pruning's dependency `graph` follow indices only as long as `allowance` lasts."""
    for node in graph.module2node.values():
        for dependency in node.dependencies:
            dependency.index_mapping = _Mappings(dependency.index_mapping, allowance)


class _Mappings(list[object]):
    """A dependency's index mappings; who iterates over them, to apply them, pays for it."""

    def __init__(self, mappings: list[object], allowance: IndexAllowance) -> None:
        super().__init__(mappings)
        self._allowance = allowance

    def __iter__(self) -> Iterator[Callable[[list[object]], list[object]]]:
        return (partial(self._apply, mapping) for mapping in super().__iter__())

    def _apply(self, mapping: Any, indices: list[Any]) -> list[Any]:  # torch-pruning's, untyped
        # A flattened image has so many indices a channel; counted before they are made.
        spreads = getattr(mapping, "_stride", 1) if not getattr(mapping, "reverse", True) else 1
        self._allowance.spend(len(indices) * spreads)
        return indices if mapping is None else list(mapping(indices))
