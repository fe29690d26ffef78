"""Does the program compute what the model says? Against ONNX Runtime, per output and per layer.

Layers are judged one at a time: each starts from the values ONNX Runtime has, so a rounding tie in
one layer is not held against the next. The oracle runs at ORT_ENABLE_BASIC, where a QDQ model is
computed in float between dequantize and quantize: exact integer arithmetic and float differ there
by one step where a value lies within float error of the middle between two codes: `ties`. Where one
differs otherwise, or too many do, exact arithmetic decides who of the two is off: `exact`. It is
asked of a layer's first ties, too: a wrong rounding, or a bias a little off, looks like them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.evaluation.difference import TensorDifference
from edgekiln.compiler.evaluation.exact import Exact, code_shift, codes_of
from edgekiln.compiler.evaluation.judgement import Judgement, close
from edgekiln.compiler.evaluation.oracle import Oracle
from edgekiln.runtime.errors import InputError, MismatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.model_inputs import Inputs
    from edgekiln.runtime.bundle import ProgramFile
    from edgekiln.runtime.manifest import Layer
    from edgekiln.runtime.runner import AotRunner

_SAMPLED_TIES = 8  # so many of a layer, and all of the call that has them, are held against `exact`


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far two computations of one tensor are apart."""

    name: str
    op: str
    elements: int
    differing: int
    max_steps: float | None  # quantized tensors: in codes
    max_abs: float  # in real values; see `difference.APART` for those that are no numbers
    sqnr_db: float | None  # None: no difference
    integer: bool = False  # codes, and not of floats that were rounded

    @property
    def ok(self) -> bool:
        return close(self.max_steps, self.differing, self.elements, self.sqnr_db)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """`layers`: each on the oracle's own inputs. `outputs`: the whole program, ties included."""

    samples: int
    layers: tuple[Gap, ...]
    outputs: tuple[Gap, ...]
    agreement: float  # share of samples with the same largest output, of the first output
    unchecked: tuple[str, ...]  # layers whose result ONNX does not name
    # Of `layers`, those with values that differ from ONNX Runtime's and are no ties, or too far.
    judged: tuple[Judgement, ...]

    @property
    def integer_layers(self) -> tuple[Gap, ...]:
        """Those that compute with codes, and are compared as such."""
        return tuple(gap for gap in self.layers if gap.integer)

    @property
    def identical(self) -> bool:
        """Whether every integer of every layer is ONNX Runtime's."""
        return not any(gap.differing for gap in self.integer_layers)

    def verdicts(self) -> Iterator[str]:
        """A line for each layer in which ONNX Runtime is what is off."""
        for each in self.judged:
            if each.onnxruntime_is_off:
                yield each.verdict

    def check(self) -> None:
        """Raises MismatchError naming the worst layer."""
        judged = {each.name: each.ok for each in self.judged}
        bad = [gap for gap in self.layers if not judged.get(gap.name, gap.ok)]
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


@dataclass
class _Tally:
    """One tensor's differences over the samples."""

    name: str
    op: str
    scale: float | None
    integer: bool = False
    words: bool = False  # codes of 16 bits
    difference: TensorDifference = field(default_factory=TensorDifference)
    unexplained: int = 0  # codes that differ and are no ties
    sampled: int = 0  # of those that differ, held against exact arithmetic

    @classmethod
    def of(cls, layer: "Layer") -> "_Tally":
        assert layer.output is not None, layer.name
        scale, words = layer.output.scale, np.dtype(layer.output.dtype).itemsize == 2
        return cls(layer.name, layer.op, scale, scale is not None and layer.integer, words)

    def gap(self) -> Gap:
        found = self.difference
        return Gap(
            name=self.name,
            op=self.op,
            elements=found.elements,
            differing=found.differing,
            max_steps=None if self.scale is None else found.max_abs,
            max_abs=found.max_abs * (self.scale or 1.0),
            sqnr_db=found.sqnr_db,
            integer=self.integer,
        )


def verify(
    program: "Path | ProgramFile", model: Path, batches: "Sequence[Inputs]", point: str = ""
) -> Verification:
    """Compare a bundle or lib artifact with the QDQ model it was made from.

    Args:
        program: the file, or one that was read, and verified where that is demanded.
        batches: inputs of the program's own shapes, a call's each; of a program with states, those
            of a stream each, (T, …).
        point: the operating point, by name or number; the first if not said.

    Raises:
        InputError: the model is not the one the program was made from.
        MismatchError: by `Verification.check`, which the caller decides to call.
    """
    from edgekiln.runtime.program import batch_of
    from edgekiln.runtime.runner import AotRunner
    from edgekiln.runtime.trust import open_trusted

    opened = open_trusted(program) if isinstance(program, Path) else program
    runner = AotRunner.of(opened)
    runner.set_point(point or 0)
    oracle = Oracle(model, [layer.name for layer in runner.spec.layers])
    if oracle.sha256 != runner.spec.model_sha256:
        raise InputError(
            f"{opened.path} was not made from {model}",
            f"give the model with sha256 {runner.spec.model_sha256[:12]}…",
        )
    layers: dict[str, _Tally] = {}
    outputs = [_Tally(spec.name, "output", None) for spec in runner.outputs]
    same = rows = 0
    calls = 0
    exact: Exact | None = None  # known are the layers of a whole call
    # Layer by layer the states, too, are what ONNX Runtime has, not what the whole program made.
    isolated = runner.stream()
    isolated.set_point(point or 0)
    for given, truth in _calls(oracle, batches, runner, isolated):
        calls += 1
        ours = runner.run(*_in_order(runner, given))
        for tally, mine, name in zip(outputs, ours, oracle.outputs, strict=True):
            tally.difference.add(mine, truth[name])
        best, wanted = (best_of(each) for each in (ours[0], truth[oracle.outputs[0]]))
        same, rows = same + int((best == wanted).sum()), rows + len(best)
        tied = []
        for layer, mine, theirs in _isolated(isolated, given, truth):
            tally = layers.setdefault(layer.name, _Tally.of(layer))
            codes, others = (codes_of(layer, mine, each) for each in (mine, theirs))
            tally.difference.add(codes, others)
            differing = codes != others
            if tally.scale is not None and differing.any():
                ties = oracle.ties.are_ties(layer.name, codes, others, truth)
                tally.unexplained += int((differing & ~ties).sum())
                if tally.sampled < _SAMPLED_TIES:
                    tied.append((layer, mine.copy(), theirs))
                    tally.sampled += int(differing.sum())
        exact = exact or Exact(oracle, layers.keys() | {each.name for each in runner.inputs})
        for layer, mine, theirs in tied:
            held = exact.held(layer, mine, theirs, truth)
            if held is not None:
                layers[layer.name].unexplained += int((held.program != held.allowed).sum())
    gaps = tuple(tally.gap() for tally in layers.values())
    doubtful = [gap.name for gap in gaps if not gap.ok or layers[gap.name].unexplained]
    return Verification(
        samples=calls * (batch_of(runner) or 1),
        layers=gaps,
        outputs=tuple(tally.gap() for tally in outputs),
        agreement=same / rows if rows else 1.0,
        unchecked=tuple(layer.name for layer in runner.spec.layers if layer.name not in layers),
        judged=_judge(runner, oracle, batches, exact, doubtful) if exact else (),
    )


def _calls(
    oracle: Oracle, batches: "Sequence[Inputs]", *runners: "AotRunner"
) -> "Iterator[tuple[Inputs, dict[str, NDArray[np.generic]]]]":
    """The inputs of each call, the steps of a stream one by one, and what ONNX Runtime has there;
    the runners begin a stream where one begins.
    """
    for batch in batches:
        for runner in runners:
            runner.reset()
        yield from oracle.steps(batch)


def best_of(output: "NDArray[np.generic]") -> "NDArray[np.intp]":
    """The index of the largest value, for each item of the first axis; 0 for a scalar."""
    rows = output.reshape(len(output) if output.ndim else 1, -1)
    return np.asarray(rows.argmax(1))


def _judge(
    runner: "AotRunner",
    oracle: Oracle,
    batches: "Sequence[Inputs]",
    exact: Exact,
    doubtful: Sequence[str],
) -> tuple[Judgement, ...]:
    """Hold the doubtful layers, and ONNX Runtime's results of them, against exact arithmetic."""
    if not doubtful:
        return ()
    found: dict[str, tuple[_Tally, _Tally]] = {}
    for given, truth in _calls(oracle, batches, runner):
        for layer, mine, theirs in _isolated(runner, given, truth):
            held = exact.held(layer, mine, theirs, truth) if layer.name in doubtful else None
            if held is None:
                continue
            ours, others = found.setdefault(layer.name, (_Tally.of(layer), _Tally.of(layer)))
            others.difference.add(held.onnxruntime, held.exact)
            ours.difference.add(held.program, held.allowed)
    return tuple(_judgement(*pair) for pair in found.values())


def _judgement(ours: _Tally, theirs: _Tally) -> Judgement:
    gap = ours.gap()
    return Judgement(
        name=gap.name,
        op=gap.op,
        elements=gap.elements,
        program_off=gap.differing,
        onnxruntime_off=theirs.difference.differing,
        max_steps=gap.max_steps,
        sqnr_db=gap.sqnr_db,
        onnxruntime_sqnr_db=theirs.difference.sqnr_db,
        as_floats=ours.words and not ours.integer,
    )


def _isolated(
    runner: "AotRunner", batch: "Inputs", truth: "dict[str, NDArray[np.generic]]"
) -> "Iterator[tuple[Layer, NDArray[np.generic], NDArray[np.generic]]]":
    """Run layer by layer; after each, put the oracle's value where ours lies."""
    runner.begin(*_in_order(runner, batch))
    for index, layer in enumerate(runner.spec.layers):
        runner.step(index)
        mine = runner.layer_output(layer)
        theirs = truth.get(layer.name)
        if mine is None or theirs is None or layer.output is None:
            continue
        yield layer, mine, theirs
        if layer.output.zero_point is None:
            runner.place(layer, theirs)
        else:
            codes = theirs.astype(np.int32) + code_shift(mine, theirs)
            runner.place(layer, codes.astype(mine.dtype))


def _in_order(runner: "AotRunner", given: "Inputs") -> "list[NDArray[np.generic]]":
    return [given[each.name] for each in runner.inputs]
