import io
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from edgekiln.runtime import bundle
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, InputError, StorageError
from tests.runtime.conftest import TOY

FILES = {"b/c.txt": b"two", "a": b"one" * 400, "run": b"#!/bin/sh\necho ran\n", "empty": b""}


def rewritten(path, **changes):
    """The bundle at `path` with members replaced, added or (None) dropped, its hashes untouched."""
    files = {**bundle.read_tar(path), **changes}
    bundle.write_tar(path, {n: c for n, c in files.items() if c is not None}, executable=set())
    return path


def hostile(path, **header):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("ok")
        member.size = 3
        for name, value in header.items():
            setattr(member, name, value)
        tar.addfile(member, io.BytesIO(b"abc"))
    return path


def test_a_tar_gives_back_what_was_written(tmp_path):
    source = tmp_path / "file"
    source.write_bytes(b"from a file")
    bundle.write_tar(tmp_path / "t", {**FILES, "f": source}, executable={"run"})
    assert bundle.read_tar(tmp_path / "t") == {**FILES, "f": b"from a file"}


def test_equal_files_give_equal_bytes(tmp_path):
    bundle.write_tar(tmp_path / "one", FILES, executable={"run"})
    code = (
        "import sys, pathlib; from edgekiln.runtime import bundle\n"
        f"files = dict(reversed({FILES!r}.items()))\n"
        "bundle.write_tar(pathlib.Path(sys.argv[1]), files, executable={'run'})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, tmp_path / "two"]
    subprocess.run(command, check=True, env=environment)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_extract_keeps_executables_and_replaces_links(tmp_path):
    bundle.write_tar(tmp_path / "t", FILES, executable={"run"})
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(victim)
    bundle.extract(tmp_path / "t", tmp_path / "out")
    assert subprocess.check_output([tmp_path / "out/run"]) == b"ran\n"
    assert (tmp_path / "out/b/c.txt").read_bytes() == b"two"
    assert victim.read_text() == "mine"


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*No such file"):
        bundle.write_tar(tmp_path / "t", {"a": tmp_path / "absent"}, executable=set())
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*/no/t: No such file") as caught:
        bundle.write_tar(tmp_path / "no/t", FILES, executable=set())
    assert caught.value.exit_code == 9


@pytest.mark.parametrize(
    "header",
    [
        {"name": "../out"},
        {"name": "/etc/passwd"},
        {"name": "a/./b"},
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "ok"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.DIRTYPE},
    ],
)
def test_hostile_members_are_refused(tmp_path, header):
    with pytest.raises(BundleError) as caught:
        bundle.extract(hostile(tmp_path / "t", **header), tmp_path / "out")
    name = header.get("name", "ok")
    assert f"member '{name}" in caught.value.message
    assert caught.value.message.endswith(("is not a plain file", "is not in normal form"))
    assert not (tmp_path / "out").exists()


def test_a_member_larger_than_the_file_is_refused(tmp_path):
    header = tarfile.TarInfo("giant")
    header.size = 1 << 40
    (tmp_path / "t").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(BundleError, match="not a whole tar: unexpected end of data"):
        bundle.read_tar(tmp_path / "t")


def test_a_name_that_stands_there_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "t", "w") as tar:
        tar.addfile(tarfile.TarInfo("a"))
        tar.addfile(tarfile.TarInfo("a/b"))
    with pytest.raises(BundleError, match="member 'a/b' stands there twice"):
        bundle.read_tar(tmp_path / "t")


@pytest.mark.parametrize("keep", [0, 100, 512, 1000, 5000])
def test_a_truncated_file_is_refused(toy_bundle, keep):
    path = toy_bundle()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"not a whole tar|truncated or damaged"):
        Bundle.open(path)


def test_any_flipped_bit_of_the_contents_is_noticed(toy_bundle):
    path = toy_bundle()
    whole = path.read_bytes()
    used = sum(512 + -(-len(content) // 512) * 512 for content in bundle.read_tar(path).values())
    draw = np.random.default_rng(0)
    unnoticed = []
    for position in draw.integers(0, used, 200):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << draw.integers(8)
        path.write_bytes(flipped)
        try:
            opened = Bundle.open(path)
        except BundleError:
            continue
        unnoticed.append(position)
        assert opened.files == bundle.read_tar(toy_bundle())
    assert len(unnoticed) < 20  # padding between members alone


def test_a_changed_file_is_named(toy_bundle):
    path = rewritten(toy_bundle(), **{"libmodel.so": b"evil"})
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    assert caught.value.message == f"{path}: libmodel.so does not match its sha256"
    assert caught.value.exit_code == 8


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"libmodel.so": None}, "libmodel.so missing"),
        ({"extra": b"1"}, "extra not in the manifest"),
        ({"manifest.json": b"{}"}, "manifest.json does not match its sha256"),
        ({"manifest.json": None}, "has no manifest.json: not a bundle"),
        ({"manifest.json.sha256": None}, "has no manifest.json.sha256: not a bundle"),
    ],
)
def test_files_and_manifest_must_agree(toy_bundle, changes, problem):
    path = rewritten(toy_bundle(), **changes)
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    assert caught.value.message == f"{path}: {problem}"


def test_the_seal_is_what_sha256sum_checks(toy_bundle, tmp_path):
    bundle.extract(toy_bundle(), tmp_path / "out")
    subprocess.run(["sha256sum", "-c", "manifest.json.sha256"], check=True, cwd=tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 300, b"not a tar at all"])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "x.ekb").write_bytes(content)
    with pytest.raises(BundleError, match=r"x\.ekb: (not a whole tar|truncated|has no)"):
        Bundle.open(tmp_path / "x.ekb")


def test_a_tar_without_a_program_is_no_program(tmp_path):
    bundle.write_tar(tmp_path / "t", {"a": b"1"}, executable=set())
    with pytest.raises(BundleError, match=r"t: has no program\.json: not a compiled program"):
        bundle.read_program(tmp_path / "t")


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.ekb: No such file or directory"):
        Bundle.open(tmp_path / "none.ekb")


def test_a_program_is_read_from_both_kinds_of_file(toy_lib, toy_bundle):
    for path in (toy_lib(), toy_bundle()):
        spec, files = bundle.read_program(path)
        assert spec == TOY
        assert "libmodel.so" in files
