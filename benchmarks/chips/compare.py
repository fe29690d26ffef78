"""A quantized model's programs for several chips, on the same samples: the same values?"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.benchmarks.chips.sources import QuantizedModel
from edgekiln.benchmarks.command import PROGRAM
from edgekiln.benchmarks.domains import STORE
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.evaluation.subject import Subject, program_subject
from edgekiln.compiler.onnx_model.model_inputs import Inputs
from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.runtime import codec
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.text import human_bytes

_MACS_A_START = 300_000_000  # of an emulator, which answers within minutes then

Answers = tuple[NDArray[np.generic], ...]  # of all calls, an array an output


@dataclass(frozen=True, kw_only=True)
class ChipDifference:
    """How many values are not the reference's, and by how much they are off, as a share of the
    largest value of their output.
    """

    values: int
    differing: int = 0
    largest: float = 0.0

    def __str__(self) -> str:
        if not self.differing:
            return "equal"
        return f"{self.differing:,} of {self.values:,} differ, by {self.largest:.1e} at most"


def difference(found: Answers, wanted: Answers) -> ChipDifference:
    """Bits are compared, so that a zero with a sign is another one."""
    values = differing = 0
    largest = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            raise ValueError(f"{ours.dtype} {ours.shape} is not {theirs.dtype} {theirs.shape}")
        rows = [np.ascontiguousarray(e).reshape(-1, 1).view(np.uint8) for e in (ours, theirs)]
        off = (rows[0] != rows[1]).any(axis=1)
        values, differing = values + off.size, differing + int(off.sum())
        real, own = theirs.astype(np.float64), ours.astype(np.float64)
        largest = max(
            largest, np.abs(own - real).max(initial=0) / (np.abs(real).max(initial=0) or 1)
        )
    return ChipDifference(values=values, differing=differing, largest=float(largest))


def compiled(model: Path, target: str, folder: Path) -> Path | str:
    """The program, as `edgekiln compile` makes it, or what that says."""
    out = folder / f"{model.parent.name[:16]}-{model.stem}-{Path(target).stem}.lib"
    command = [PROGRAM, "compile", str(model), "-o", str(out), "--target", target]
    environment = os.environ | {"EDGEKILN_STORE": str(folder.parent / STORE)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = done.stderr.splitlines()
        return next((line for line in lines if line.startswith("error")), done.stderr[-200:])
    return out


class Chips:
    """A model's reference program and its answers, to which other programs are held.

    Args:
        samples: how many to ask about at most.
        most_macs: so many multiplications, or one sample's, are asked for; an emulator is slow.
        known: a folder of what was found before, by program and answers; is added to.
    """

    def __init__(
        self, model: QuantizedModel, reference: Path, samples: int, most_macs: int, known: Path
    ) -> None:
        self.spec, files = read_program(reference)
        macs = sum(layer.macs for layer in self.spec.layers)
        count = max(1, min(samples, most_macs // max(macs, 1)))
        with chdir(model.home):  # where functions that data names are found
            self.calls = batches_for(self.spec, model.path, data=model.data, seed=0, samples=count)
        self.wanted = answers(program_subject(self.spec, files), self.calls)
        self._known = known

    @property
    def steps(self) -> int:
        """Calls of the program."""
        return len(self.wanted[0])

    def held(self, program: Path) -> ChipDifference | str:
        """How a program differs from the reference, or why it did not answer."""
        digest = sha256(sha256_of(program).encode())
        for each in self.wanted:
            digest.update(each.tobytes())
        known = self._known / f"{digest.hexdigest()}.json"
        if known.exists():
            return codec.decode(ChipDifference, codec.loads(known.read_text(encoding="utf-8")))
        try:
            subject = program_subject(*read_program(program))
            found = difference(answers(subject, self.calls), self.wanted)
        except EdgeKilnError as error:
            return error.message
        self._known.mkdir(exist_ok=True)
        known.write_text(codec.to_json(found), encoding="utf-8")
        return found


def answers(subject: Subject, calls: Sequence[Inputs]) -> Answers:
    """What a program says to all calls, as real numbers."""
    several = subject.takes.batched and not subject.takes.states
    in_time = max(1, _MACS_A_START // max(subject.costs.macs or 1, 1))
    most = min(subject.batch, in_time) if several else 1
    parts = [subject.predict(each) for each in _joined(calls, most)]
    alone = not subject.takes.batched and not subject.takes.states
    return tuple(
        np.stack(column) if alone else np.concatenate(column) for column in zip(*parts, strict=True)
    )


def _joined(calls: Sequence[Inputs], most: int) -> Iterator[Inputs]:
    """Calls of one sample as calls of at most so many."""
    for start in range(0, len(calls), most):
        part = calls[start : start + most]
        yield (
            {name: np.concatenate([each[name] for each in part]) for name in part[0]}
            if (len(part) > 1)
            else part[0]
        )


def floats(spec: ProgramSpec) -> int:
    """How many layers of a quantized model are computed in float."""
    return sum(not layer.integer and bool(layer.reason) for layer in spec.layers)


def memory(spec: ProgramSpec) -> str:
    """What a microcontroller's program takes; "" of others."""
    needs = spec.footprint
    if needs is None:
        return ""
    return f"{human_bytes(needs.flash_bytes)} + {human_bytes(needs.ram_bytes)}"
