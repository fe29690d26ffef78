"""Papers of a bundle: what is in it (CycloneDX) and how it was made (in-toto, SLSA).

Both follow from the bundle alone: no times, no host names, so that equal bundles give equal papers.
"""

import hashlib
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from edgekiln.compiler.pipeline.artifact import Record
from edgekiln.runtime import codec
from edgekiln.runtime.bundle import MANIFEST, SEAL, Bundle, ProgramFile, read_content

SBOM_SUFFIX = ".cdx.json"
PROVENANCE_SUFFIX = ".intoto.json"
BUILD_TYPE = "urn:edgekiln:chain:1"
BUILDER = "urn:edgekiln:ci"
# Version 5 ids are hashes of a name within a space of names; this space is ours.
SPACE = uuid.uuid5(uuid.NAMESPACE_URL, BUILD_TYPE)


def write(bundle: Path) -> None:
    """Write NAME.ekb.cdx.json and NAME.ekb.intoto.json beside the bundle."""
    raw = read_content(bundle)  # once: the papers are of these bytes
    opened = Bundle.verified(bundle, ProgramFile.parse(bundle, raw).files)
    digest = hashlib.sha256(raw).hexdigest()
    for suffix, content in (
        (SBOM_SUFFIX, sbom(opened, digest)),
        (PROVENANCE_SUFFIX, provenance(opened, digest)),
    ):
        path = bundle.with_name(bundle.name + suffix)
        path.write_text(codec.to_json(content), encoding="utf-8")


def provenance(bundle: Bundle, sha256: str) -> dict[str, object]:
    """An in-toto statement, v1, with SLSA's provenance predicate, v1."""
    chain = bundle.manifest.provenance
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": bundle.path.name, "digest": {"sha256": sha256}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                # SLSA's word for what whoever asks for a build decides.
                "externalParameters": {
                    "program": bundle.program.name,
                    "target": bundle.program.target,
                    "stages": [
                        {"stage": record["stage"], "options": record.get("options", {})}
                        for record in chain
                    ],
                },
                "resolvedDependencies": [*_materials(chain), *_tools(chain)],
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"edgekiln": metadata.version("edgekiln")},
                },
                # What each stage gave on the way, by its hash: who has the store can look at it.
                "byproducts": [
                    {"name": record["stage"], "digest": {"sha256": record["sha256"]}}
                    for record in chain
                ],
            },
        },
    }


def sbom(bundle: Bundle, sha256: str) -> dict[str, object]:
    """A CycloneDX 1.6 document."""
    spec = bundle.program
    root = bundle.path.name
    files = [_file(name, content) for name, content in sorted(bundle.files.items())]
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": spec.name,
        "hashes": _hashes(spec.model_sha256),
    }
    tools = [
        {
            "type": "library",
            "bom-ref": tool["uri"],
            "name": tool["name"],
            "version": tool["uri"].rpartition("@")[2],
            "purl": tool["uri"],
        }
        for tool in _tools(bundle.manifest.provenance)
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(SPACE, sha256)}",
        "version": 1,
        "metadata": {
            "tools": {"components": tools},
            "component": {
                "type": "firmware",
                "bom-ref": root,
                "name": root,
                "description": f"{spec.name} for {spec.target} ({spec.machine}, {spec.isa})",
                "hashes": _hashes(sha256),
            },
        },
        "components": [model, *files, *_linked(bundle)],
        "dependencies": [
            {"ref": root, "dependsOn": ["model", *(each["bom-ref"] for each in files)]}
        ],
    }


def _materials(chain: tuple[Record, ...]) -> Iterator[dict[str, object]]:
    """The user's file, and every data set, each once."""
    seen = set()
    for record in chain:
        options = record.get("options", {})
        if record["stage"] == "input":
            yield {"name": f"input ({record['kind']})", "digest": {"sha256": record["sha256"]}}
        if digest := record.get("uses", {}).get("data"):
            if digest not in seen:
                yield {"name": f"data {options.get('data', '')}", "digest": {"sha256": digest}}
            seen.add(digest)


def _tools(chain: tuple[Record, ...]) -> list[dict[str, str]]:
    """The distributions whose versions can change the bytes, and the C compiler."""
    versions = {name: found for r in chain for name, found in r.get("tools", {}).items()}
    return [{"name": name, "uri": f"pkg:pypi/{name}@{versions[name]}"} for name in sorted(versions)]


def _linked(bundle: Bundle) -> Iterator[dict[str, object]]:
    """Foreign code inside the bundle's files, as its own notices say."""
    if "LICENSES/LGPL-2.1.txt" in bundle.files:
        yield {
            "type": "library",
            "bom-ref": "glibc",
            "name": "glibc",
            "description": "linked statically into `runner`",
            "licenses": [{"license": {"id": "LGPL-2.1-or-later"}}],
        }


def _file(name: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    component: dict[str, object] = {
        "type": "file",
        "bom-ref": f"file:{name}",
        "name": name,
        "hashes": _hashes(digest),
    }
    # What is no code, and what is other people's, has no licence of ours.
    if name not in (MANIFEST, SEAL) and not name.startswith(("LICENSES/", "example/")):
        component["licenses"] = [{"license": {"id": "Apache-2.0"}}]
    return component


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]
