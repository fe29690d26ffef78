"""The parts of a run that several machines made, `--only` a part each, become one."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgekiln.compiler.ci import attest
from edgekiln.compiler.ci.documents import write_documents
from edgekiln.compiler.ci.publish import replaced
from edgekiln.compiler.ci.result import CiResult, read
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.signature import place

PAPERS = ("", attest.SBOM_SUFFIX, attest.PROVENANCE_SUFFIX)


def merge(parts: Sequence[Path], out: Path, baseline: CiResult | None) -> CiResult:
    """Merge what `edgekiln ci` wrote to each directory of `parts` into `out`.

    Raises:
        ConfigError: a job is in two parts, or the parts are of different configurations.
        InputError, BundleError: a part, or a bundle in it, is missing or damaged.
        StorageError: `out` cannot be replaced.
    """
    results = [read(part) for part in parts]
    whole = _joined(results)
    with replaced(out) as directory:
        for part, result in zip(parts, results, strict=True):
            for bundle in filter(None, (job.bundle for job in result.jobs)):
                # Nobody looks at what this gives: it raises where a bundle is damaged.
                Bundle.open(part / bundle)
                for name in (f"{bundle}{suffix}" for suffix in PAPERS):
                    shutil.copyfile(part / name, directory / name)
                if (signed := place(part / bundle)).exists():
                    shutil.copyfile(signed, directory / signed.name)
        write_documents(directory, whole, baseline)
    return whole


def _joined(results: Sequence[CiResult]) -> CiResult:
    ids = [job.id for result in results for job in result.jobs]
    if doubled := {job for job in ids if ids.count(job) > 1}:
        raise ConfigError(f"{min(doubled)} is in two of the parts", "give each part once")
    if len(configs := {result.config for result in results}) > 1:
        raise ConfigError(f"the parts are of {' and '.join(sorted(configs))}")
    missing = dict.fromkeys(job for result in results for job in result.left_out)
    return CiResult(
        config=results[0].config,
        baseline=results[0].baseline,
        jobs=tuple(job for result in results for job in result.jobs),
        verdicts=tuple(verdict for result in results for verdict in result.verdicts),
        left_out=tuple(job for job in missing if job not in ids),
    )
