"""Does the program compute what the model says? Against ONNX Runtime, per output and per layer.

Layers are judged one at a time: each starts from the values ONNX Runtime has, so a rounding tie in
one layer is not held against the next. The oracle runs at ORT_ENABLE_BASIC, where a QDQ model is
computed in float between dequantize and quantize: exact integer arithmetic and float differ there
by one step where a value lies within float error of the middle between two codes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.runtime.errors import InputError, MismatchError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Layer
    from edgekiln.runtime.runner import AotRunner

# A tie moves a code by one step; behind a fused addition by as many as that step spans.
MAX_STEPS = 4
# Ties are rare: more than this share of differing codes in a layer is a wrong kernel.
MAX_TIE_SHARE = 0.02
# Float results differ in their last bits, because sums are taken in another order: by about √k·2⁻²⁴
# of the result for k terms, 108 dB for the 4,608 of a 3×3 convolution over 512 channels. 80 dB, a
# relative error of 1e-4 in a layer, leaves room for sums that nearly cancel; a wrong kernel is far
# below it.
MIN_FLOAT_SQNR_DB = 80.0


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far two computations of one tensor are apart."""

    name: str
    op: str
    elements: int
    differing: int
    max_steps: float | None  # quantized tensors: in codes
    max_abs: float  # in real values
    sqnr_db: float | None  # None: no difference

    @property
    def ok(self) -> bool:
        if self.max_steps is None:
            return self.sqnr_db is None or self.sqnr_db >= MIN_FLOAT_SQNR_DB
        return self.max_steps <= MAX_STEPS and self.differing <= MAX_TIE_SHARE * self.elements


@dataclass(frozen=True, kw_only=True)
class Verification:
    """`layers`: each on the oracle's own inputs. `outputs`: the whole program, ties included."""

    samples: int
    layers: tuple[Gap, ...]
    outputs: tuple[Gap, ...]
    agreement: float  # share of samples with the same largest output, of the first output
    unchecked: tuple[str, ...]  # layers whose result ONNX does not name

    @property
    def integer_layers(self) -> tuple[Gap, ...]:
        return tuple(gap for gap in self.layers if gap.max_steps is not None)

    @property
    def identical(self) -> bool:
        """Whether every integer of every layer is ONNX Runtime's."""
        return not any(gap.differing for gap in self.integer_layers)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"identical": self.identical}

    def check(self) -> None:
        """Raises MismatchError naming the worst layer."""
        bad = [gap for gap in self.layers if not gap.ok]
        if bad:
            worst = max(bad, key=lambda gap: gap.differing / gap.elements)
            steps = worst.max_steps
            size = f"{worst.max_abs:.3g}" if steps is None else f"{steps:.0f} steps"
            raise MismatchError(
                f"layer {worst.name!r} ({worst.op}): {worst.differing} of {worst.elements} values "
                f"differ from ONNX Runtime, by up to {size}",
                "the program does not compute the model it was built from: rebuild it, and report "
                "the model if the difference stays",
            )


class _Accumulator:
    """Gathers one tensor's differences over the samples."""

    def __init__(self, name: str, op: str, scale: float | None) -> None:
        self.name, self.op, self.scale = name, op, scale
        self.elements = self.differing = 0
        self.max_abs = self.signal = self.noise = 0.0

    def add(self, ours: "NDArray[np.generic]", theirs: "NDArray[np.generic]") -> None:
        """Both in real values or both as codes minus their zero point."""
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        gap = np.abs(a - b)
        self.elements += gap.size
        self.differing += int((gap > 0).sum())
        self.max_abs = max(self.max_abs, float(gap.max(initial=0.0)))
        self.signal += float((b**2).sum())
        self.noise += float((gap**2).sum())

    def gap(self) -> Gap:
        step = self.scale
        ratio = self.signal / self.noise if self.noise else None
        return Gap(
            name=self.name,
            op=self.op,
            elements=self.elements,
            differing=self.differing,
            max_steps=None if step is None else self.max_abs,
            max_abs=self.max_abs * (step or 1.0),
            sqnr_db=None if ratio is None else float(10 * np.log10(max(ratio, 1e-30))),
        )


def verify(program: Path, model: Path, batches: "Sequence[NDArray[np.float32]]") -> Verification:
    """Compare a bundle or lib artifact with the QDQ model it was made from.

    Args:
        batches: inputs of the program's own shape.

    Raises:
        InputError: the model is not the one the program was made from.
        MismatchError: by `Verification.check`, which the caller decides to call.
    """
    from edgekiln.runtime.runner import AotRunner

    runner = AotRunner.open(program)
    oracle = Oracle(model, [layer.name for layer in runner.spec.layers])
    if oracle.sha256 != runner.spec.model_sha256:
        raise InputError(
            f"{program} was not made from {model}",
            f"give the model with sha256 {runner.spec.model_sha256[:12]}…",
        )
    layers: dict[str, _Accumulator] = {}
    outputs = [_Accumulator(spec.name, "output", None) for spec in runner.outputs]
    same = total = 0
    for batch in batches:
        truth = oracle.run(batch)
        ours = runner.run(batch)
        for accumulator, mine in zip(outputs, ours, strict=True):
            accumulator.add(mine, truth[accumulator.name])
        first = truth[runner.outputs[0].name]
        rows = len(first)
        same += int(
            (ours[0].reshape(rows, -1).argmax(1) == first.reshape(rows, -1).argmax(1)).sum()
        )
        total += rows
        for layer, mine, theirs in _isolated(runner, batch, truth):
            accumulator = layers.setdefault(
                layer.name,
                _Accumulator(layer.name, layer.op, layer.output.scale),  # type: ignore[union-attr]
            )
            accumulator.add(mine, theirs)
    unchecked = [layer.name for layer in runner.spec.layers if layer.name not in layers]
    return Verification(
        samples=total,
        layers=tuple(accumulator.gap() for accumulator in layers.values()),
        outputs=tuple(accumulator.gap() for accumulator in outputs),
        agreement=same / total if total else 1.0,
        unchecked=tuple(unchecked),
    )


def _isolated(
    runner: "AotRunner", batch: "NDArray[np.float32]", truth: "dict[str, NDArray[np.generic]]"
) -> "Iterator[tuple[Layer, NDArray[np.generic], NDArray[np.generic]]]":
    """Run layer by layer; after each, put the oracle's value where ours lies."""
    runner.begin(batch)
    for index, layer in enumerate(runner.spec.layers):
        runner.step(index)
        mine = runner.layer_output(layer)
        theirs = truth.get(layer.name)
        if mine is None or theirs is None or layer.output is None:
            continue
        zero = layer.output.zero_point
        if zero is None:
            yield layer, mine, theirs
            runner.place(layer, theirs)
            continue
        # The program may use the other byte type; codes without zero points are comparable.
        shift = 128 * ((mine.dtype == np.uint8) - (theirs.dtype == np.uint8))
        codes = theirs.astype(np.int32) + shift
        yield layer, mine.astype(np.int32) - zero, codes - zero
        runner.place(layer, codes.astype(mine.dtype))


class Oracle:
    """ONNX Runtime with the tensors we ask for as extra outputs."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        import hashlib

        from edgekiln.compiler.onnx_model.io import load_model
        from edgekiln.compiler.onnx_model.session import Session

        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        model = load_model(path)
        self._expose(model, names)
        self._session = Session(model, optimize=False)

    @staticmethod
    def _expose(model: "onnx.ModelProto", names: Sequence[str]) -> None:
        from onnx import helper

        made = {name for node in model.graph.node for name in node.output}
        known = {value.name for value in model.graph.output}
        for name in names:
            if name in made and name not in known:
                model.graph.output.append(helper.make_empty_tensor_value_info(name))

    def run(self, batch: "NDArray[np.float32]") -> "dict[str, NDArray[np.generic]]":
        return dict(zip(self._session.outputs, self._session(batch), strict=True))
