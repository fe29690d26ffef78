"""Builds one TensorIR function: its parameters first, then its body."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Code, Launch, PrimFunc
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index


class KernelBuilder:
    """Collects one function inside `with`.

    The order of the calls is the order of the parameters: `tensor` for inputs, `constant`, `tensor`
    for the output, `items`, or `no_items` for a function that cannot be shared by threads. Inside
    `declarations` the body behind them is left out, and nothing of TVM is touched. Inside
    `on_threads` the function is a GPU's: each of its threads has an item.
    """

    def __init__(self) -> None:
        self._constants: list[NDArray[np.generic]] = []
        self._tensors: list[int] = []
        self._stack = ExitStack()
        self._buffers = 0
        self._declaring = _declaring.get()
        self._group = _group.get()
        self._launch: Launch | None = None
        self.work = 0

    def __enter__(self) -> Self:
        if self._declaring:
            return self
        from tvm.script.ir_builder import IRBuilder
        from tvm.script.ir_builder import tirx as T

        self._ir = self._stack.enter_context(IRBuilder())
        # Private: the function gets its name when equal bodies have been found.
        self._stack.enter_context(T.prim_func(is_private=True, s_tir=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> bool:
        self._stack.__exit__(kind, error, at)
        return isinstance(error, _Declared)

    def tensor(self, elements: int, dtype: str) -> Buffer:
        """Declare an input or the output."""
        self._tensors.append(elements * np.dtype(dtype).itemsize)
        return self._parameter(elements, dtype)

    def constant(self, array: NDArray[np.generic]) -> Buffer:
        """Declare a constant, which the kernel carries."""
        self._constants.append(np.ascontiguousarray(array))
        return self._parameter(array.size, str(array.dtype))

    def _parameter(self, elements: int, dtype: str) -> Buffer:
        if self._declaring:
            return _UNBUILT
        from tvm.script.ir_builder import tirx as T

        self._buffers += 1
        # Whoever calls a kernel aligns its buffers to a line of the cache.
        parameter: Buffer = T.arg(f"p{self._buffers}", T.buffer((elements,), dtype, align=64))
        return parameter

    def items(self, work: int) -> tuple[Expr, Expr]:
        """Declare `work` independent items. Returns this call's range of them: the first one and
        the one behind the last.
        """
        if self._group:
            item = self.threads(work)
            return item, item + 1
        self.work = work
        self.no_items()
        from tvm.script.ir_builder import tirx as T

        begin: Expr = T.arg("begin", T.int32())
        end: Expr = T.arg("end", T.int32())
        return begin, end

    def no_items(self) -> None:
        """All parameters are declared."""
        if self._group:
            self.threads(1)
        elif self._declaring:
            raise _Declared

    def threads(self, count: int) -> Expr:
        """Let `count` threads of a GPU run the body; returns the number of the one that does."""
        threads = min(self._group, count)
        groups = -(-count // threads)
        group, place = self.groups(groups, threads)
        from tvm.script.ir_builder import tirx as T

        thread: Expr = T.bind(group * threads + place)
        # The last group may have more threads than there is work.
        if groups * threads > count:
            self._stack.enter_context(T.If(thread < count))
            self._stack.enter_context(T.Then())
        return thread

    def groups(self, count: int, threads: int) -> tuple[Expr, Expr]:
        """Let `count` groups of `threads` of a GPU run the body; returns the numbers of the group
        and of the thread in it.
        """
        assert threads <= self._group
        self._launch = Launch(groups=count, threads=threads)
        if self._declaring:
            raise _Declared
        from tvm.script.ir_builder import tirx as T

        group, place = T.env_thread("blockIdx.x"), T.env_thread("threadIdx.x")
        self._stack.enter_context(T.launch_thread(group, count))
        self._stack.enter_context(T.launch_thread(place, threads))
        return group, place

    def finish(self) -> Kernel:
        """Return the function and its constants, after `with`."""
        code = Code(emit=self._emitted, launch=self._launch)
        return Kernel(
            code=code,
            constants=tuple(self._constants),
            work=self.work,
            tensors=tuple(self._tensors),
        )

    def _emitted(self) -> PrimFunc:
        return self._ir.get()


class _Unbuilt:
    """Stands for every buffer of a function whose body is left out."""

    def __getitem__(self, index: Index, /) -> Expr:
        raise AssertionError("the body of a kernel was run while its parameters were declared")


_UNBUILT = _Unbuilt()


class _Declared(Exception):  # noqa: N818, for it is no error
    """Leaves the body of `with KernelBuilder()`."""


_declaring = ContextVar("_declaring", default=False)
_group = ContextVar("_group", default=0)


@contextmanager
def on_threads(group: int) -> Iterator[None]:
    """Kernels built inside are run by groups of so many threads of a GPU; 0: by a processor."""
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)


@contextmanager
def declarations() -> Iterator[None]:
    """Kernels built inside have constants and work, and no function."""
    token = _declaring.set(True)
    try:
        yield
    finally:
        _declaring.reset(token)
