"""The schemas that ship with the runtime, made from its types.

After a change of these types: python -m edgekiln.compiler.documents.runtime_schemas
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import edgekiln.runtime
from edgekiln.compiler.documents.json_schema import document_schema
from edgekiln.runtime import manifest, results
from edgekiln.runtime.documents import Answers, Benches, Checked
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.manifest import Manifest, ProgramSpec
from edgekiln.runtime.results import BenchResult
from edgekiln.runtime.runner_documents import RunnerAccuracy, RunnerCheck, RunnerReport, RunnerTrace


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A document of the runtime."""

    title: str
    cls: type
    schema: str | int = ""  # the value of its key "schema"; "": the title


DOCUMENTS: Mapping[str, Shipped] = {
    "bench": Shipped(title=results.SCHEMA, cls=BenchResult),
    "bench-set": Shipped(title="edgekiln.bench-set/2", cls=Benches),
    "check": Shipped(title="edgekiln.check/1", cls=Checked),
    "manifest": Shipped(
        title="EdgeKiln bundle manifest 1", cls=Manifest, schema=manifest.SCHEMA_VERSION
    ),
    "program": Shipped(
        title="EdgeKiln program.json 1", cls=ProgramSpec, schema=manifest.SCHEMA_VERSION
    ),
    "run": Shipped(title="edgekiln.run/1", cls=Answers),
    "runner-accuracy": Shipped(title="runner accuracy, version 1", cls=RunnerAccuracy, schema=1),
    "runner-check": Shipped(title="runner check, version 1", cls=RunnerCheck, schema=1),
    "runner-perf": Shipped(title="runner perf, version 4", cls=RunnerReport, schema=4),
    "runner-trace": Shipped(title="runner trace, version 1", cls=RunnerTrace, schema=1),
}


def home() -> Path:
    """Where they lie."""
    assert edgekiln.runtime.__file__ is not None
    return Path(edgekiln.runtime.__file__).parent / "schemas"


def texts() -> dict[str, str]:
    """File name → content."""
    return {
        f"{name}.schema.json": json.dumps(
            document_schema(each.title, each.cls, each.schema), indent=1, ensure_ascii=False
        )
        + "\n"
        for name, each in DOCUMENTS.items()
    }


def main() -> None:
    """Write all of them to where they ship from."""
    for name, text in texts().items():
        with written_whole(home() / name) as stream:
            stream.write(text.encode())
        print(f"wrote {home() / name}")


if __name__ == "__main__":
    main()
