"""Agree: how close anything behind the float model is to it, on samples without labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.pipeline import key_checks
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_model.model_inputs import Inputs
    from edgekiln.targets.profile import TargetProfile

_AT_ONCE = 64  # samples of a call at most


@dataclass(frozen=True, kw_only=True)
class AgreeStage(Stage):
    """Run the held-out samples through the model and the float model that it came from.

    Another machine's program runs under QEMU, a large one on the first samples only. The report is
    an `Agreement` as JSON.
    """

    name: ClassVar[str] = "agree"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx", "onnx-int8", "lib")
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("onnxruntime", "numpy")
    by_content: ClassVar[frozenset[str]] = frozenset({"reference"})

    reference: str = field(
        default="", metadata={"help": "Compare with this float ONNX model, a file."}
    )
    data: str = field(default="", metadata={"help": "Compare on these samples."})
    seed: int = field(default=0, metadata={"help": "Draw the samples' order by this seed."})

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return {
            **used_data(self.data, self.seed),
            # By content: the path may hold another model tomorrow.
            "reference": key_checks.hashed(Path(self.reference)),
        }

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.evaluation.agreement import agreement
        from edgekiln.compiler.evaluation.subject import open_subject
        from edgekiln.compiler.onnx_model.feed import feed_for
        from edgekiln.runtime import codec
        from edgekiln.runtime.files import written_whole

        # The float model says how samples become numbers; what was made of it takes the same.
        reference = open_subject(Artifact.of_file(Path(self.reference), "onnx"))
        subject = open_subject(src, ctx.allow)
        feed = feed_for(reference.meta, reference.takes, data=self.data, seed=self.seed)
        held_out = feed.count("test")
        total = min(subject.samples_in_time or held_out, held_out)
        # Both are given the same arrays, so the smaller batch counts.
        step = min(reference.batch, subject.batch, _AT_ONCE)

        def batches() -> "Iterator[tuple[Inputs, int]]":
            done = 0
            for given in feed.batches("test", batch=step, samples=total):
                count = feed.takes.samples_in(given)
                if not subject.takes.fits(given) and feed.takes.states:
                    continue  # fewer streams than the program's batch
                yield given, count
                done += count
                ctx.advance(done, total, "comparing with the float model")

        report = agreement(reference.predict, subject.predict, batches(), subject.costs, held_out)
        with written_whole(dst) as stream:
            stream.write(codec.to_json(report).encode())
        return {"sqnr_db": report.sqnr_db, "cosine": report.cosine, "n": report.n}
