"""Package: a compiled program becomes a bundle that stands alone, and says where it comes from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekiln.compiler.stage import Kind, Stage, StageContext
from edgekiln.runtime.errors import BundleError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import ProgramSpec, TensorSpec

REPORT = "report.json"
REPORT_SCHEMA = "edgekiln.report/1"


@dataclass(frozen=True, kw_only=True)
class Package(Stage):
    """Add manifest, report, an example with its expected output, and the licences."""

    name: ClassVar[str] = "package"
    takes: ClassVar[tuple[Kind, ...]] = ("lib",)
    gives: ClassVar[Kind] = "bundle"
    suffix: ClassVar[str] = ".ekb"
    uses_target: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("edgekiln", "apache-tvm", "numpy")

    data: str = field(
        default="",
        metadata={"help": "Data set of the example, its first test sample; none: random numbers."},
    )
    data_sha256: str = field(default="", metadata={"derived": True})
    seed: int = field(default=0, metadata={"help": "Seed of the splits or the random numbers."})
    provenance: str = field(default="[]", metadata={"derived": True})  # JSON: a record a stage
    report: str = field(default="{}", metadata={"derived": True})  # JSON: what build measured

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.licences import notices
        from edgekiln.runtime import bundle, manifest

        ctx.advance(0, 2, "example")
        spec, program = bundle.read_program(src)
        files = {**program, **notices(program)}
        inputs = self._inputs(spec)
        example: dict[str, Any] = {"input": self._origin()}
        outputs, missing = expected_outputs(spec, program, inputs)
        if missing:
            ctx.notes.append(f"no expected output: {missing}")
            example["no_expected_output"] = missing
        for kind, arrays in (("input", inputs), ("output", outputs)):
            for index, array in enumerate(arrays):
                files[bundle.example_name(kind, index)] = array.tobytes()
        ctx.advance(1, 2, "packing")
        report = {
            "schema": REPORT_SCHEMA,
            **json.loads(self.report),
            "sizes": _sizes(spec, program),
            "example": example,
        }
        files[REPORT] = (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()
        document = manifest.Manifest(
            program=spec,
            files={name: bundle.sha256(content) for name, content in files.items()},
            provenance=tuple(json.loads(self.provenance)),
            report=report,
        )
        files[bundle.MANIFEST] = manifest.to_json(document).encode()
        files[bundle.SEAL] = bundle.seal(files[bundle.MANIFEST])
        bundle.write_tar(dst, files, executable={bundle.RUNNER})
        ctx.advance(2, 2, "")
        return {"file_bytes": dst.stat().st_size, "files": len(files)}

    def _origin(self) -> str:
        if self.data:
            return f"first test sample of {self.data}, seed {self.seed}"
        return f"random, seed {self.seed}"

    def _inputs(self, spec: "ProgramSpec") -> "list[NDArray[np.generic]]":
        """One array an input. Raises InputError when the data does not fit the program."""
        import numpy as np

        if self.data and len(spec.inputs) != 1:
            raise InputError(
                f"data {self.data!r} fills one input, {spec.name} has {len(spec.inputs)}",
                hint="leave --data away: the example is then made of random numbers",
            )
        if self.data:
            return [_first_samples(self.data, self.seed, spec.inputs[0])]
        draw = np.random.default_rng(self.seed)
        return [_random(tensor, draw) for tensor in spec.inputs]


def expected_outputs(
    spec: "ProgramSpec", files: Mapping[str, bytes], inputs: "list[NDArray[np.generic]]"
) -> "tuple[list[NDArray[np.generic]], str]":
    """What the program computes from `inputs`; or nothing and why, when it cannot run here."""
    from edgekiln.runtime.bundle import LIBRARY
    from edgekiln.runtime.runner import AotRunner, check_machine

    try:
        check_machine(spec, spec.name)
    except BundleError as error:
        return [], error.message
    return AotRunner(spec, files[LIBRARY], spec.name).run(*inputs), ""


def _first_samples(data: str, seed: int, spec: "TensorSpec") -> "NDArray[np.generic]":
    """As many test samples as the program takes at once, as evaluation feeds them."""
    from edgekiln.compiler.onnx_meta import Meta
    from edgekiln.compiler.samples import feed_for
    from edgekiln.runtime.inputs import quantize

    batch, *shape = spec.shape
    feed = feed_for(Meta(preprocessing=spec.preprocessing), tuple(shape), data=data, seed=seed)
    samples, _ = next(feed.batches(feed.dataset.test, batch=batch))
    if len(samples) != batch:
        raise InputError(
            f"{data}: {len(samples)} test samples, the program takes {batch} at once",
            hint="give more data, or build with a smaller --batch",
        )
    return quantize(samples, spec)


def _random(spec: "TensorSpec", draw: "np.random.Generator") -> "NDArray[np.generic]":
    import numpy as np

    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return draw.standard_normal(spec.shape).astype(dtype)
    limits = np.iinfo(dtype)
    return draw.integers(limits.min, limits.max, spec.shape, dtype, endpoint=True)


def _sizes(spec: "ProgramSpec", files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "arena_bytes": spec.arena_bytes,
        "weights_bytes": spec.weights_bytes,
        "code_bytes": spec.code_bytes,
        "files": {name: len(content) for name, content in sorted(files.items())},
    }
