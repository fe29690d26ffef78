"""What ONNX Runtime computes of an exported program, held to what PyTorch does."""

import io
import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import extents, torch_exporter
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import InputError, MismatchError, UnsupportedError

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray
    from torch.export import ExportedProgram
    from torch.fx.node import Argument

    _Leaf = torch.Tensor | float | str | None  # an argument of the program

# One code more or less in the middle of a quantized model, where PyTorch and ONNX Runtime add in
# another order, or weights that the exporter has rounded to half floats; a wrong operator is off by
# all of the output.
_ROUNDED_TOLERANCE = 0.1
_HINT = "report it, with the operators that it has"
_AGAIN = "export it again: the file is damaged"


def arguments_of(sample: bytes, program: "ExportedProgram") -> "list[_Leaf] | None":
    """What it was exported with, in the order of its inputs; None if that cannot be read without
    running code.
    """
    import torch

    try:
        with torch_exporter.quiet():
            found = torch.load(io.BytesIO(sample), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError):
        return None
    leaves = torch.utils._pytree.tree_leaves(found)
    if len(leaves) != len(program.graph_signature.user_inputs):
        return None
    plain = (bool, float, int, str, type(None))
    return leaves if all(_dense(leaf) or type(leaf) in plain for leaf in leaves) else None


def _dense(leaf: object) -> bool:
    import torch

    if not isinstance(leaf, torch.Tensor) or type(leaf) is not torch.Tensor:
        return False
    return leaf.layout is torch.strided and not leaf.is_quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Proof:
    """The program, the model that was made of it, and the numbers that they are given."""

    program: "ExportedProgram"
    model: "onnx.ModelProto"
    arguments: "Sequence[_Leaf]"
    rounded: bool  # whether the program rounds on its way, to codes or to half floats
    where: str

    def check(self) -> None:
        """Compare on the sample, which may be nothing but zeros, on numbers drawn from it, and on
        such of another size, where extents are open.

        Raises:
            InputError: the program does not take its own sample.
            UnsupportedError: it gives something else in each call, or ONNX Runtime cannot run it.
            MismatchError: ONNX Runtime computes something else.
        """
        session = Session(self.model, optimize=False)
        self._require_tensors()
        # Nothing is drawn before the sample has shown that it is the program's.
        for number, given in enumerate(chain([self.arguments], self._draws())):
            try:
                expected, again = self._by_pytorch(given), self._by_pytorch(given)
            except Exception as error:  # whatever an operator says of numbers that are not for it
                if number:  # nor for the program
                    continue
                reason = torch_exporter.cause(error)
                raise InputError(
                    f"{self.where}: PyTorch cannot run it on its own sample: {reason[:200]}", _AGAIN
                ) from error
            if not all(map(_same, expected, again)):
                raise UnsupportedError(
                    f"{self.where}: draws random numbers: the same input gives something else in "
                    "each call",
                    "give what is drawn as an input",
                )
            self._compare(session, given, expected, exactly=not (number and self.rounded))

    def _require_tensors(self) -> None:
        leaves = self._by_name(self.arguments)
        for value in extents.model_inputs(self.model):
            if not _dense(leaves.get(value.name)):
                raise InputError(f"{self.where}: its sample has no tensor {value.name!r}", _AGAIN)

    def _by_name(self, arguments: "Sequence[_Leaf]") -> "dict[str, _Leaf]":
        return dict(zip(map(str, self.program.graph_signature.user_inputs), arguments, strict=True))

    @cached_property
    def _module(self) -> "torch.fx.GraphModule":
        """The program with whole floats in the place of half ones, as the model has it."""
        import torch

        with torch_exporter.quiet():
            module = self.program.module()
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = _whole(tensor.data)
        autocast = torch.ops.higher_order.wrap_with_autocast
        for part in module.modules():
            if not isinstance(part, torch.fx.GraphModule):
                continue
            for node in part.graph.nodes:
                node.args = torch.fx.node.map_aggregate(node.args, _whole_type)
                node.kwargs = torch.fx.node.map_aggregate(node.kwargs, _whole_type)
                if node.target is autocast:
                    device, dtype, _, *rest = node.args
                    node.args = (device, dtype, False, *rest)
            part.recompile()
        return module

    def _by_pytorch(self, arguments: "Sequence[_Leaf]") -> "list[NDArray[np.generic]]":
        """It raises whatever PyTorch does."""
        import torch

        given = [
            # An operator in place would change the sample.
            _whole(leaf).clone() if isinstance(leaf, torch.Tensor) else leaf
            for leaf in arguments
        ]
        with torch_exporter.quiet(), torch.no_grad():
            outputs = torch.utils._pytree.tree_leaves(self._module(*given))
        return [_array(leaf) for leaf in outputs if leaf is not None]

    def _compare(
        self,
        session: Session,
        arguments: "Sequence[_Leaf]",
        expected: "Sequence[NDArray[np.generic]]",
        *,
        exactly: bool,
    ) -> None:
        given = self._by_name(arguments)
        inputs = extents.model_inputs(self.model)
        feeds = {value.name: _array(given[value.name]) for value in inputs}
        found = session(feeds)
        kinds = [[(a.shape, a.dtype.name) for a in arrays] for arrays in (expected, found)]
        if kinds[0] != kinds[1]:
            raise MismatchError(
                f"the exported model gives {_listed(kinds[1])}, PyTorch {_listed(kinds[0])}", _HINT
            )
        for ours, theirs in zip(found, expected, strict=True):
            # One code more or less may be another class.
            if exactly or theirs.dtype.kind == "f":
                torch_exporter.require_equal(
                    theirs.astype(np.float64).reshape(1, -1),
                    ours.astype(np.float64).reshape(1, -1),
                    hint=_HINT,
                    tolerance=_ROUNDED_TOLERANCE if self.rounded else torch_exporter.TOLERANCE,
                )

    def _draws(self) -> "Iterator[list[_Leaf]]":
        rng = np.random.default_rng(0)
        sizes = self._other_sizes()
        for shapes in ({}, sizes) if sizes else ({},):
            leaves = self._by_name(self.arguments)
            yield [_drawn(leaf, shapes.get(name), rng) for name, leaf in leaves.items()]

    def _other_sizes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs in which each open extent is one more than in the sample."""
        ranges = {str(symbol): each for symbol, each in self.program.range_constraints.items()}
        leaves = self._by_name(self.arguments)
        found: dict[str, tuple[int, ...]] = {}
        for value in extents.model_inputs(self.model):
            shape = list(getattr(leaves[value.name], "shape", ()))
            for axis, extent in enumerate(extents.extents(value)):
                if isinstance(extent, int):
                    continue
                if extent not in ranges:  # arithmetic on others
                    return {}
                shape[axis] += 1 if shape[axis] + 1 <= ranges[extent].upper else -1
                found[value.name] = tuple(shape)
        return found


def _drawn(leaf: "_Leaf", shape: tuple[int, ...] | None, rng: np.random.Generator) -> "_Leaf":
    """Numbers of the sample in another order, which are in the domain of what reads them; floats
    that are all the same say nothing of that, and normal ones are drawn. None is there more often
    than it has to be: of equal numbers, PyTorch and ONNX Runtime may call either the largest.
    """
    import torch

    if not isinstance(leaf, torch.Tensor):
        return leaf
    shape = tuple(leaf.shape) if shape is None else shape
    values = leaf.flatten()
    if not len(values):
        return leaf
    if leaf.is_floating_point() and bool((values == values[0]).all()):
        return torch.from_numpy(rng.normal(size=shape)).to(leaf.dtype)
    places = np.arange(math.prod(shape)) % len(values)
    return values[torch.from_numpy(rng.permutation(places))].reshape(shape)


def _array(leaf: "_Leaf") -> "NDArray[np.generic]":
    import torch

    if not isinstance(leaf, torch.Tensor):
        return np.asarray(leaf)
    found: NDArray[np.generic] = _whole(leaf).numpy(force=True)
    return found


def _whole(tensor: "torch.Tensor") -> "torch.Tensor":
    """Half floats as floats."""
    return tensor if _whole_type(tensor.dtype) is tensor.dtype else tensor.float()


def _whole_type(value: "Argument") -> "Argument":
    import torch

    return torch.float32 if value in (torch.float16, torch.bfloat16) else value


def _same(one: "NDArray[np.generic]", other: "NDArray[np.generic]") -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _listed(kinds: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for shape, dtype in kinds) or "nothing"
