"""The bytes of a tokenizer's tables while they are put together."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class TableContent:
    """The bytes behind the header, each array at a multiple of 4.

    Args:
        names: of the fields of the header, in their order.
    """

    names: tuple[str, ...]
    fields: dict[str, int] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    def add(self, name: str, values: bytes | NDArray[np.generic]) -> int:
        """Append an array, and have the field of this name say where, if there is one."""
        self.body += bytes(-len(self.body) % 4)
        offset = 4 * len(self.names) + len(self.body)
        self.body += values if isinstance(values, bytes) else values.tobytes()
        if name:
            self.fields[name] = offset
        return offset

    def array(self) -> NDArray[np.uint8]:
        """The header, and what lies behind it."""
        header = np.array([self.fields[name] for name in self.names], "<u4")
        return np.frombuffer(header.tobytes() + bytes(self.body), np.uint8)
