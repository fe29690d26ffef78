"""Package: a compiled program becomes a bundle that stands alone, and says where it comes from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.packaging.report import StageReport
from edgekiln.compiler.pipeline.artifact import INPUT, Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.runtime.codec import digest, encode
from edgekiln.runtime.errors import BundleError, ConfigError
from edgekiln.runtime.trust import machine_signers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekiln.compiler.packaging.golden_example import Example
    from edgekiln.runtime.manifest import ProgramSpec
    from edgekiln.targets.profile import TargetProfile

REPORT = "report.json"
REPORT_SCHEMA = "edgekiln.report/1"


def check_target(lib: Path, target: str, where: str) -> None:
    """Refuse to call a compiled program another device's: nothing compiles it anew.

    Args:
        where: what the user calls it.

    Raises:
        ConfigError: it is not for this target.
    """
    from edgekiln.runtime import bundle

    spec, _ = bundle.read_program(lib)
    if spec.target != target:
        raise ConfigError(
            f"package: --target {target}: {where} is compiled for {spec.target}",
            hint=f"leave --target out, or compile the model again: edgekiln compile MODEL "
            f"--target {target}",
        )


@dataclass(frozen=True, kw_only=True)
class PackageStage(Stage):
    """Add manifest, report, an example with its expected output, and the licences."""

    name: ClassVar[str] = "package"
    takes: ClassVar[tuple[Kind, ...]] = ("lib",)
    gives: ClassVar[Kind] = "bundle"
    suffix: ClassVar[str] = ".ekb"
    uses_target: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("edgekiln", "apache-tvm", "numpy", "onnx", "onnxruntime")

    data: str = field(
        default="",
        metadata={
            "help": "Make the example of the first test sample of this data set (default: of "
            "random numbers)."
        },
    )
    seed: int = field(
        default=0, metadata={"help": "Draw the splits or the random numbers by this seed."}
    )
    # What the build measured of the stages before.
    steps: tuple[StageReport, ...] = field(default=(), metadata={"option": False})

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        """The data of the example, and how the program came about, which the manifest tells."""
        chain = src.chain if src else ()
        return {**used_data(self.data, self.seed), "provenance": digest(chain)}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.packaging.golden_example import expected_outputs
        from edgekiln.compiler.packaging.licences import notices
        from edgekiln.runtime import bundle, manifest

        ctx.advance(0, 2, "example")
        self._require_ours(src)
        spec, program = bundle.read_program(src.path)
        # The licences of what is linked in: a bundle is handed on without this tool.
        files = {**program, **notices(program)}
        example = self._example(spec)
        by_point, missing = expected_outputs(example, program)
        if missing:
            ctx.notes.append(f"no expected output: {missing}")
        if lost := _without_numbers(spec, by_point):
            ctx.notes.append(f"NaN is in {', '.join(lost)} of the example ({example.origin})")
        for index, array in enumerate(example.inputs):
            files[bundle.example_name("input", index)] = array.tobytes()
        for point, outputs in enumerate(by_point):
            for index, array in enumerate(outputs):
                files[bundle.example_name("output", index, point)] = array.tobytes()
        ctx.advance(1, 2, "packing")
        report = {
            "schema": REPORT_SCHEMA,
            "steps": [encode(step) for step in self.steps],
            "sizes": _sizes(spec, program),
            "example": {"input": example.origin, "no_expected_output": missing},
        }
        files[REPORT] = (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()
        # Before the manifest itself is among the files: a file cannot hold its own sum.
        document = manifest.Manifest(
            program=example.spec,
            files={name: bundle.sha256(content) for name, content in files.items()},
            provenance=src.chain,
            report=report,
        )
        files[bundle.MANIFEST] = manifest.text_of(document).encode()
        # Last, for it holds the sum of the manifest, which holds those of all other files.
        files[bundle.SEAL] = bundle.seal(files[bundle.MANIFEST])
        # A runner that is unpacked must be executable; all else is data.
        bundle.write_tar(dst, files, executable={bundle.RUNNER})
        ctx.advance(2, 2, "")
        return {"file_bytes": dst.stat().st_size, "files": len(files)}

    def _require_ours(self, src: Artifact) -> None:
        """Its example is computed here. Raises BundleError where this machine demands signatures,
        which a library has none of, and did not compile it itself.
        """
        signers = machine_signers()
        if signers is not None and src.chain and src.chain[-1]["stage"] == INPUT:
            raise BundleError(
                f"{src.path}: of another machine, and this one runs only what {signers.name} has "
                "signed",
                "package it where it was compiled, and sign the bundle",
            )

    def _example(self, spec: "ProgramSpec") -> "Example":
        from edgekiln.compiler.packaging.golden_example import data_example, random_example

        if self.data:
            return data_example(spec, self.data, self.seed)
        return random_example(spec, self.seed)


def _without_numbers(spec: "ProgramSpec", by_point: "list[list[NDArray[np.generic]]]") -> list[str]:
    """The outputs that hold NaN at some point, by name."""
    import numpy as np

    lost = {
        each.name
        for outputs in by_point
        for each, array in zip(spec.outputs, outputs, strict=True)
        if array.dtype.kind == "f" and np.isnan(array).any()
    }
    return [each.name for each in spec.outputs if each.name in lost]


def _sizes(spec: "ProgramSpec", files: Mapping[str, bytes]) -> dict[str, object]:
    return {
        "arena_bytes": spec.arena_bytes,
        "weights_bytes": spec.weights_bytes,
        "code_bytes": spec.code_bytes,
        "footprint": encode(spec.footprint),
        "files": {name: len(content) for name, content in sorted(files.items())},
    }
