"""The parts of a run that several machines made, `--only` a part each, become one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekiln.compiler.ci import attest
from edgekiln.compiler.ci.documents import write_documents
from edgekiln.compiler.ci.publish import SUMS, WHOLE, read_sums, replaced
from edgekiln.compiler.ci.result import CiResult, JobResult, read
from edgekiln.runtime.bundle import ProgramFile, read_content, sha256
from edgekiln.runtime.errors import BundleError, ConfigError
from edgekiln.runtime.limits import INPUTS, read_file
from edgekiln.runtime.signature import KEYS, place

PAPERS = (attest.SBOM_SUFFIX, attest.PROVENANCE_SUFFIX)


def merge(parts: Sequence[Path], out: Path, baseline: CiResult | None) -> CiResult:
    """Merge what `edgekiln ci` wrote to each directory of `parts` into `out`.

    Raises:
        ConfigError: a job is in two parts, or the parts are of different configurations.
        InputError, BundleError: a part, or a bundle in it, is missing or damaged.
        StorageError: `out` cannot be replaced.
    """
    results = [read(part) for part in parts]
    sums = [read_sums(part) for part in parts]
    whole = _joined(results)
    with replaced(out) as directory:
        for part, result, summed in zip(parts, results, sums, strict=True):
            for job in result.jobs:
                for name, content in _files(part, job).items():
                    if sha256(content) != summed.get(name):
                        raise BundleError(
                            f"{part / name}: is not what {SUMS} beside it says", WHOLE
                        )
                    (directory / name).write_bytes(content)
        write_documents(directory, whole, baseline)
    return whole


def _files(part: Path, job: JobResult) -> Mapping[str, bytes]:
    """The bundle of a job, its papers and its signature, each read once: what is checked is what
    is written.
    """
    if not job.bundle:
        return {}
    path = part / job.bundle
    content = read_content(path)
    ProgramFile.parse(path, content)  # it raises where a bundle is damaged
    if job.build and sha256(content) != job.build.targets[0].bundle_sha256:
        raise BundleError(
            f"{path}: is another bundle than the one that the results are of",
            "take bundle and results from one run",
        )
    papers = {f"{job.bundle}{suffix}": path.with_name(path.name + suffix) for suffix in PAPERS}
    found = {name: read_file(paper, INPUTS, WHOLE) for name, paper in papers.items()}
    signed = place(path)
    if signed.exists():
        found[signed.name] = read_file(signed, KEYS, WHOLE)
    return {job.bundle: content, **found}


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
