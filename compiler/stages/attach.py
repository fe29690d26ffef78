"""Attach: a model gets the steps before and after it, and takes raw data from then on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from edgekiln.compiler.onnx_model.ends.steps import TEXTS
from edgekiln.compiler.pipeline import key_checks
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class AttachStage(Stage):
    """Put preprocessing and postprocessing into the model, as operators."""

    name: ClassVar[str] = "attach"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx-int8", "onnx")
    gives: ClassVar[Kind] = "onnx-int8"
    suffix: ClassVar[str] = ".onnx"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy", "torch")

    before: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Do this before the network, again for more: pixels, nv12=HxW, yuyv=HxW, then "
            "crop=HxW, resize, letterbox; or pcm, of sound, then mel=BANDS?… or mfcc=COUNT?…; or "
            "wordpiece=VOCABULARY?… or bpe=VOCABULARY?…, of text; or, of a table, "
            "buckets=COLUMN:EDGES;… and hash=COLUMN:COUNT;…."
        },
    )
    after: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Do this with the network's first output, again for more: softmax, sigmoid, "
            "argmax, top-k=K, threshold=T, hysteresis=ON?off=OFF&steps=N; or, of a "
            "sequence, ctc=greedy?blank=C&labels=FILE; or, with a detector's, "
            "detections=FORM?score=T&iou=T."
        },
    )

    data: str = field(
        default="", metadata={"option": False}
    )  # says of a float model how samples become its numbers, as quantization does of others
    seed: int = field(default=0, metadata={"option": False})

    def __post_init__(self) -> None:
        from edgekiln.compiler.onnx_model.ends import checks

        checks.check(self.before, self.after)
        if not (self.before or self.after):
            raise ConfigError(
                "attach: nothing is to be attached",
                hint="say what: --before pixels, --after argmax",
            )

    def kind_of(self, src: Artifact | None) -> Kind:
        """The model stays what it is."""
        return src.kind if src else self.gives

    def settled(self, src: Artifact | None) -> Self:
        """Data are none of it where the model knows of its input, or nothing is asked about it."""
        source = self.before[0].partition("=")[0] if self.before else ""
        if source in TEXTS or not source or (src and src.kind != "onnx"):
            return replace(self, data="", seed=0)
        return self

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        from edgekiln.compiler.onnx_model.ends import checks

        files = checks.files_of(self.before, self.after)
        hashes = {f"file:{path}": key_checks.hashed(path) for path in files}
        return {**hashes, **used_data(self.data, self.seed)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        import onnx

        from edgekiln.compiler.onnx_model import io
        from edgekiln.compiler.onnx_model.ends.attach import attach
        from edgekiln.compiler.onnx_model.feed import completed, feed_for
        from edgekiln.compiler.onnx_model.model_inputs import of_model

        model = onnx.ModelProto()
        model.CopyFrom(src.read(io.load_model))  # others read it, too
        meta = io.read_meta(model)
        if self.data and not (meta.preprocessing and meta.data):
            feed = feed_for(meta, of_model(model), data=self.data, seed=self.seed)
            io.write_meta(model, completed(meta, feed, self.data))
        ctx.notes.extend(attach(model, self.before, self.after))
        io.save_model(model, dst)
        return {"file_bytes": dst.stat().st_size}
