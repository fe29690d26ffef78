"""A module becomes one program with several operating points, which share their weights."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.build import resolve, scoring
from edgekiln.compiler.build.driver import Progress
from edgekiln.compiler.build.recipe import Recipe, stage_class
from edgekiln.compiler.evaluation.report import Evaluation
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.atomic_io import copy_out
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.points import check_target
from edgekiln.runtime import codec
from edgekiln.runtime.bundle import ProgramFile, read_tar
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import ProgramSpec

if TYPE_CHECKING:
    from edgekiln.compiler.stages.slim import SlimStage
    from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class BuiltPoint:
    """An operating point of an adaptive bundle."""

    name: str
    macs: int
    score: Score  # of its int8 model, on the test split
    float_score: Score
    shared: float  # the part of its weight bytes that are the first point's


@dataclass(frozen=True, kw_only=True)
class AdaptiveBuild:
    """What was built; the program's sizes are of all points together."""

    bundle: str
    arena_bytes: int
    weights_bytes: int
    points: tuple[BuiltPoint, ...]


def build_adaptive(
    model: str,
    slim: "SlimStage",
    target: "TargetProfile",
    out: Path,
    store: Store,
    progress: Progress,
    recipe: Recipe,
) -> AdaptiveBuild:
    """Train, export, quantize and compile every point, and pack the one program of all.

    The int8 model of each point is written beside `out`, as compiled.

    Raises:
        EdgeKilnError: from the stages.
    """
    check_target(target)  # before the training, which takes the time
    allow = resolve.allowed(model, recipe)
    return _Adaptive(slim, target, out, store, progress, recipe, allow).run(model)


@dataclass(frozen=True)
class _Adaptive:
    slim: "SlimStage"
    target: "TargetProfile"
    out: Path
    store: Store
    progress: Progress
    recipe: Recipe
    allow: frozenset[str]  # factories that module files may name

    def run(self, model: str) -> AdaptiveBuild:
        artifact = resolve.start(self.store, model, self.recipe)
        trained = self._stage("slim", artifact, self.slim)
        modules = list(self._modules(trained))
        reals = [self._stage("export", each) for each in modules]
        quantized = list(self._nested([self._stage("quantize", each) for each in reals]))
        # By the files beside the bundle: a path in the store would be no one else's.
        points = tuple(f"{self.slim.names[i]}={self._file(i)}" for i in range(1, len(quantized)))
        lib = self._stage("compile", quantized[0][0], point=points, compact=True)
        self._check_points(lib, quantized)
        bundle = self._stage("package", lib)
        copy_out(bundle.path, self.out)
        spec = ProgramFile.open(self.out).spec
        return AdaptiveBuild(
            bundle=str(self.out),
            arena_bytes=spec.arena_bytes,
            weights_bytes=spec.weights_bytes,
            points=tuple(self._points(spec, reals, quantized)),
        )

    def _file(self, number: int) -> Path:
        """The int8 model of a point, beside the bundle."""
        return self.out.with_name(f"{self.out.stem}-{self.slim.names[number]}.onnx")

    def _check_points(self, lib: Artifact, quantized: list[tuple[Artifact, float]]) -> None:
        """Raise InputError where the files beside the bundle were others' when they were compiled:
        what is told of each point would be of another model.
        """
        used = lib.chain[-1]["uses"]
        for number, (int8, _) in enumerate(quantized[1:], 1):
            if used[f"point {self.slim.names[number]}"] != int8.sha256:
                raise InputError(
                    f"{self._file(number)} was changed while it was read",
                    "does another slim write there? Run it again, or name another -o",
                )

    def _stage(
        self, name: str, src: Artifact, stage: "SlimStage | None" = None, **given: object
    ) -> Artifact:
        cls = stage_class(name, _STAGES)
        fitting = {"data": self.slim.data, "seed": self.recipe.seed, "program": self.out.stem}
        made = stage or self.recipe.stage(cls, fitting, given)
        target = self.target if cls.uses_target else None
        with self.progress(name) as advance:
            return self.store.run(made, src, target, advance, allow=self.allow)

    def _modules(self, tar: Artifact) -> Iterator[Artifact]:
        """Each form's module file."""
        files = read_tar(tar.path)
        with tempfile.TemporaryDirectory(prefix="edgekiln-") as home:
            for name in sorted(files, key=lambda name: int(name.partition(".")[0])):
                path = Path(home, name)
                path.write_bytes(files[name])
                module = self.store.ingest(path, "module")
                # What it was made of is what the tar was made of: nobody gave it to us.
                own = {
                    "stage": "point",
                    "kind": module.kind,
                    "options": {"point": self.slim.names[int(path.stem)]},
                    "input": tar.sha256,
                    "sha256": module.sha256,
                }
                yield replace(module, chain=(*tar.chain, own))

    def _nested(self, models: list[Artifact]) -> Iterator[tuple[Artifact, float]]:
        """The int8 models, narrower ones in the first one's codes; the part that is shared."""
        from edgekiln.compiler.onnx_model.io import load_model, save_model
        from edgekiln.compiler.quantization.nested_codes import shared_share, take_codes

        wide = load_model(models[0].path)
        copy_out(models[0].path, self._file(0))
        yield models[0], 1.0
        for number, model in enumerate(models[1:], 1):
            narrow = load_model(model.path)
            take_codes(wide, narrow)
            path = self._file(number)
            save_model(narrow, path)
            made = self.store.ingest(path, "onnx-int8")
            yield made, shared_share(wide, narrow)

    def _points(
        self, spec: ProgramSpec, reals: list[Artifact], quantized: list[tuple[Artifact, float]]
    ) -> Iterator[BuiltPoint]:
        for number, (real, (int8, shared)) in enumerate(zip(reals, quantized, strict=True)):
            layers = spec.every_point[number].layers
            yield BuiltPoint(
                name=self.slim.names[number],
                macs=sum(layer.macs for layer in layers),
                score=self._score(int8),
                float_score=self._score(real),
                shared=shared,
            )

    def _score(self, model: Artifact) -> Score:
        report = self._stage("evaluate", model)
        content = codec.loads(report.path.read_text(encoding="utf-8"))
        return scoring.scores_of(codec.decode(Evaluation, content))[0]


_STAGES = {
    "slim": "edgekiln.compiler.stages.slim:SlimStage",
    "export": "edgekiln.compiler.stages.export:ExportStage",
    "quantize": "edgekiln.compiler.stages.quantize:QuantizeStage",
    "compile": "edgekiln.compiler.stages.compile:CompileStage",
    "package": "edgekiln.compiler.stages.package:PackageStage",
    "evaluate": "edgekiln.compiler.stages.evaluate:EvaluateStage",
}
