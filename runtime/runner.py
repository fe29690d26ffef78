"""Runners: one interface to a compiled program and to what it is held to."""

import copy
import os
import platform
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from edgekiln.runtime.amx_permission import request_amx_permission
from edgekiln.runtime.bundle import LIBRARY, ProgramFile
from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.host import cpu_flags
from edgekiln.runtime.library import Library, Pointers, aligned, tensor_in, view
from edgekiln.runtime.manifest import REBUILD_HINT, Layer, ProgramSpec, TensorSpec
from edgekiln.runtime.points import at_point, first_step, number
from edgekiln.runtime.trust import open_trusted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# A program for another machine: the bits are the same on all, and QEMU shows them here.
_ELSEWHERE = (
    "build it with a --target that fits (`edgekiln targets detect`); an int8 program has the same "
    "bits on each. `edgekiln devices check qemu BUNDLE` runs its example here"
)


class Runner(Protocol):
    """Something that computes a model's outputs from its inputs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes, in order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives, in order."""
        ...

    def run(self, *arrays: "NDArray[np.generic]") -> "list[NDArray[np.generic]]":
        """One inference: arrays of exactly `inputs`' shapes and dtypes. Raises InputError."""
        ...


class AotRunner:
    """A compiled program in this process, through its C interface (`model.h`).

    Buffers are allocated once. Threads that share an instance wait for each other; instances share
    nothing and run in parallel. A forked child may use its copy, whatever the parent's threads were
    doing. What a program with states remembers is the instance's: it is one stream.
    """

    def __init__(self, spec: ProgramSpec, library: bytes, where: str) -> None:
        """`library` is libmodel.so; `where` names its origin in messages. Raises BundleError."""
        check_machine(spec, where)
        request_amx_permission(spec.features, where)
        self.whole = spec  # all points
        self.spec = at_point(spec, 0)
        self._library = Library(library, where)
        self._library.check(spec)
        self._allocate()

    def _allocate(self) -> None:
        """Memory of its own, as it is before the first inference."""
        self.arena = aligned(self.spec.arena_bytes)
        self._in, self._out = Pointers(self.spec.inputs), Pointers(self.spec.outputs)
        self._lock = threading.Lock()
        self._chosen = 0  # the point, from before it is in the arena
        _RUNNERS.add(self)
        self.reset()
        self.set_point(0)

    def stream(self) -> Self:
        """Another stream of the same program: it shares the code and nothing else."""
        other = copy.copy(self)
        other._allocate()
        return other

    def reset(self) -> None:
        """Begin a new stream: forget what a program with states remembers."""
        with self._lock:
            self._library.reset(self.arena)

    def set_point(self, point: int | str) -> None:
        """Choose the operating point that runs from now on, by its number or name: `spec` and
        `outputs` are then that point's. Threads that share the instance share the choice.

        Raises:
            ConfigError: there is no such point.
        """
        chosen = number(self.whole, point)
        with self._lock:
            self._chosen = chosen
            self._apply_point()

    def _apply_point(self) -> None:
        """Let the arena and the description be those of the chosen point."""
        self._library.set_point(self.arena, self._chosen)
        self._first_step = first_step(self.whole, self._chosen)
        self.spec = at_point(self.whole, self._chosen)

    @classmethod
    def open(cls, path: Path, signers: Path | None = None) -> Self:
        """Open a `.ekb` or `.lib` file. Raises as `trust.open_trusted`, and BundleError."""
        return cls.of(open_trusted(path, signers))

    @classmethod
    def of(cls, opened: ProgramFile) -> Self:
        """The runner of a file that was read, and verified where that is demanded. Raises
        BundleError.
        """
        check_machine(opened.spec, str(opened.path))
        if LIBRARY not in opened.files:
            raise BundleError(f"{opened.path}: has no {LIBRARY}", REBUILD_HINT)
        return cls(opened.spec, opened.files[LIBRARY], str(opened.path))

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.spec.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.spec.outputs

    def run(self, *arrays: "NDArray[np.generic]") -> "list[NDArray[np.generic]]":
        """One inference. Raises InputError."""
        check_inputs(arrays, self.inputs)
        with self._lock:
            self._set_inputs(arrays)
            self._library.run(self._in, self._out, self.arena)
            return [
                # A copy: the next inference writes to the same buffers.
                view(buffer, spec).copy()
                for buffer, spec in zip(self._out.buffers, self.outputs, strict=True)
            ]

    # Layer by layer, for verification: `begin`, then `step` 0, 1, …; not while another thread runs.

    def begin(self, *arrays: "NDArray[np.generic]") -> None:
        """Set the inputs of an inference that `step` computes. Raises InputError."""
        check_inputs(arrays, self.inputs)
        self._set_inputs(arrays)

    def step(self, index: int) -> None:
        """Run one kernel call on what earlier ones left in the arena."""
        work = self.spec.layers[index].work
        index += self._first_step
        self._library.step(index, self._in, self._out, self.arena, work)

    def layer_output(self, layer: Layer) -> "NDArray[np.generic] | None":
        """A copy of what `layer`, just run, computed: in ONNX's shape and axis order.

        None for a layer that does not say where its result lies.
        """
        place = self._place_of(layer)
        return None if place is None else place.copy()

    def place(self, layer: Layer, values: "NDArray[np.generic]") -> None:
        """Put other values where `layer` wrote, for the layers behind it to read."""
        place = self._place_of(layer)
        assert place is not None, layer.name
        place[...] = values

    def _place_of(self, layer: Layer) -> "NDArray[np.generic] | None":
        if layer.output is None:
            return None
        if layer.offset is not None:
            return tensor_in(self.arena[layer.offset :], layer)
        for buffer, spec in zip(self._out.buffers, self.outputs, strict=True):
            if spec.name == layer.output.name:
                return tensor_in(buffer, layer)
        return None

    def _set_inputs(self, arrays: "tuple[NDArray[np.generic], ...]") -> None:
        for buffer, array, spec in zip(self._in.buffers, arrays, self.inputs, strict=True):
            view(buffer, spec)[...] = array


_RUNNERS: "weakref.WeakSet[AotRunner]" = weakref.WeakSet()


def _unlock_in_child() -> None:
    """The thread that held a lock at the fork is not in the child: nobody would release it.

    What it left half-computed in a runner's buffers is overwritten by the next inference; a point
    that it was about to choose is chosen.
    """
    for runner in _RUNNERS:
        locked = runner._lock.locked()
        runner._lock = threading.Lock()
        if locked:
            runner._apply_point()


os.register_at_fork(after_in_child=_unlock_in_child)


def check_machine(
    spec: ProgramSpec,
    where: str,
    *,
    machine: str = "",
    flags: frozenset[str] | None = None,
    on: str = "this machine",
) -> None:
    """Raises BundleError when a machine, by default this one, cannot execute the program.

    Args:
        machine: what `uname -m` says there.
        flags: its CPU's features.
        on: its name in messages.
    """
    machine = machine or platform.machine()
    if machine != spec.machine:
        raise BundleError(
            f"{where}: made for {spec.machine} ({spec.target}), {on} is {machine}",
            hint=_ELSEWHERE,
        )
    if missing := sorted(set(spec.features) - (cpu_flags() if flags is None else flags)):
        cpu = "this CPU" if flags is None else on
        raise BundleError(
            f"{where}: made for {spec.target}, {cpu} lacks {', '.join(missing)}",
            hint="build it with a --target that fits (`edgekiln targets detect`)",
        )


def check_count(arrays: Sequence[object], specs: tuple[TensorSpec, ...]) -> None:
    """Raises InputError when there are more or fewer arrays than inputs."""
    if len(arrays) != len(specs):
        raise InputError(
            f"{len(arrays)} arrays given, the model has {len(specs)} inputs",
            hint=f"its inputs are: {', '.join(spec.name for spec in specs)}",
        )


def check_inputs(arrays: "tuple[NDArray[np.generic], ...]", specs: tuple[TensorSpec, ...]) -> None:
    """Raises InputError when the count, a shape or a dtype differs."""
    check_count(arrays, specs)
    for array, spec in zip(arrays, specs, strict=True):
        if array.shape != spec.shape or array.dtype != spec.dtype:
            raise InputError(
                f"input {spec.name!r} is {spec.dtype} {spec.shape}, "
                f"this array is {array.dtype} {array.shape}",
                hint="edgekiln.runtime.load(...) also takes batches and uint8 images",
            )
