"""Parts that several machines made become one run's result."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.ci import attest
from edgekiln.compiler.ci.merge import merge
from edgekiln.compiler.ci.publish import write_sums
from edgekiln.compiler.ci.result import GateVerdict, JobResult, exit_code, read, text_of
from edgekiln.runtime.bundle import sha256
from edgekiln.runtime.errors import BundleError, ConfigError, InputError
from tests.compiler.ci.results import result, run, write_bundle

FAILED = GateVerdict(job="b/x/int8", gate="max-bytes", status="fail", message="", exit_code=11)


def job(name: str) -> JobResult:
    return replace(result(), id=f"{name}/x/int8", name=name, bundle=f"{name}-x-int8.ekb")


def built_as(made: JobResult, bundle: Path) -> JobResult:
    """The result that tells of this very file."""
    assert made.build is not None
    target = replace(made.build.targets[0], bundle_sha256=sha256(bundle.read_bytes()))
    return replace(made, build=replace(made.build, targets=(target,)))


def part(home: Path, name: str, *verdicts: GateVerdict, left_out: str) -> Path:
    home.mkdir()
    write_bundle(home / f"{name}-x-int8.ekb")
    attest.write(home / f"{name}-x-int8.ekb")
    write_sums(home)
    made = built_as(job(name), home / f"{name}-x-int8.ekb")
    whole = replace(run(made, verdicts=verdicts), left_out=(f"{left_out}/x/int8",))
    (home / "results.json").write_text(text_of(whole))
    return home


def test_parts_become_one_result_with_every_bundle(tmp_path: Path) -> None:
    one = part(tmp_path / "1", "a", left_out="b")
    two = part(tmp_path / "2", "b", FAILED, left_out="a")
    whole = merge([one, two], tmp_path / "dist", None)
    assert read(tmp_path / "dist") == whole
    assert [each.id for each in whole.jobs] == ["a/x/int8", "b/x/int8"]
    assert (whole.left_out, exit_code(whole)) == ((), 11)
    sums = (tmp_path / "dist" / "SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in sums] == [
        f"{name}-x-int8.ekb{suffix}"
        for name in "ab"
        for suffix in ("", ".cdx.json", ".intoto.json")
    ]


def test_a_part_given_twice_is_refused(tmp_path: Path) -> None:
    only = part(tmp_path / "1", "a", left_out="b")
    with pytest.raises(ConfigError, match="a/x/int8 is in two of the parts"):
        merge([only, only], tmp_path / "dist", None)


def test_a_truncated_bundle_is_refused_and_nothing_published(tmp_path: Path) -> None:
    only = part(tmp_path / "1", "a", left_out="b")
    bundle = only / "a-x-int8.ekb"
    bundle.write_bytes(bundle.read_bytes()[:700])
    with pytest.raises(BundleError, match=r"a-x-int8\.ekb: .*(truncated|whole)"):
        merge([only], tmp_path / "dist", None)
    assert not (tmp_path / "dist").exists()


def test_another_bundle_than_the_one_that_was_judged_is_refused(tmp_path: Path) -> None:
    """A whole one, put there after the gates passed."""
    only = part(tmp_path / "1", "a", left_out="b")
    write_bundle(only / "a-x-int8.ekb", name="another")
    with pytest.raises(BundleError, match="another bundle than the one that the results are of"):
        merge([only], tmp_path / "dist", None)
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("suffix", [".cdx.json", ".intoto.json"])
def test_papers_of_something_else_are_refused(tmp_path: Path, suffix: str) -> None:
    only = part(tmp_path / "1", "a", left_out="b")
    (only / f"a-x-int8.ekb{suffix}").write_text("{}")
    with pytest.raises(BundleError, match=f"{suffix}: is not what SHA256SUMS beside it says"):
        merge([only], tmp_path / "dist", None)
    assert not (tmp_path / "dist").exists()


def test_a_part_without_its_sums_is_refused(tmp_path: Path) -> None:
    only = part(tmp_path / "1", "a", left_out="b")
    (only / "SHA256SUMS").unlink()
    with pytest.raises(InputError) as error:
        merge([only], tmp_path / "dist", None)
    assert error.value.hint == "take the directory whole, as `edgekiln ci` wrote it"
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("name", ["../a-x-int8.ekb", "/etc/passwd", "..", "x/../a-x-int8.ekb"])
def test_a_bundle_outside_the_part_is_neither_read_nor_written(tmp_path: Path, name: str) -> None:
    only = part(tmp_path / "1", "a", left_out="b")
    text = (only / "results.json").read_text()
    (only / "results.json").write_text(text.replace('"a-x-int8.ekb"', json.dumps(name)))
    with pytest.raises(InputError, match="is no file beside the results"):
        merge([only], tmp_path / "dist", None)
    assert not (tmp_path / "dist").exists()


def test_a_part_without_its_papers_is_refused(tmp_path: Path) -> None:
    only = part(tmp_path / "1", "a", left_out="b")
    (only / "a-x-int8.ekb.cdx.json").unlink()
    with pytest.raises(InputError, match=r"cdx\.json: No such file"):
        merge([only], tmp_path / "dist", None)
