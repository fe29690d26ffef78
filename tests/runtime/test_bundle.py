import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edgekiln.runtime import bundle
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, ConfigError, InputError, StorageError
from tests.runtime.conftest import TOY

FILES = {"b/c.txt": b"two", "a": b"one" * 400, "run": b"#!/bin/sh\necho ran\n", "empty": b""}


def rewritten(path, **changes):
    """The bundle at `path` with members replaced, added or (None) dropped, its hashes untouched."""
    files = {**bundle.read_tar(path), **changes}
    bundle.write_tar(path, {n: c for n, c in files.items() if c is not None}, executable=set())
    return path


def hostile(path, **header):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
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
    header.size = 1 << 32
    (tmp_path / "t").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + bytes(2048))
    with pytest.raises(BundleError, match="not a whole tar: 'giant' has not its 4294967296 bytes"):
        bundle.read_tar(tmp_path / "t")


def ustar(**fields):
    """A header with raw bytes in some of its fields, and the right checksum."""
    header = bytearray(tarfile.TarInfo("ok").tobuf(tarfile.USTAR_FORMAT))
    places = {"size": slice(124, 136), "kind": slice(156, 157), "magic": slice(257, 265)}
    for name, content in fields.items():
        header[places[name]] = content
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


@pytest.mark.parametrize(
    "header",
    [
        ustar(size=b"\xff" * 12),  # GNU's base-256: -1
        ustar(size=b"\x80" + bytes(3) + b"\xff" * 8),  # and 2**64 - 1
        ustar(size=b"0000000-001\0"),
        ustar(size=bytes(12)),
        ustar(magic=b"ustar  \0"),  # GNU's other format
        ustar(kind=b"S"),  # sparse
        ustar(kind=b"x"),  # extended headers, by which a size can be anything
        ustar(kind=b"L"),
    ],
)
def test_extensions_of_the_format_are_refused(tmp_path, header):
    (tmp_path / "t").write_bytes(header)
    with pytest.raises(BundleError, match=r"not a whole tar: .* at byte 0|is not a plain file"):
        bundle.read_tar(tmp_path / "t")


def test_what_never_ends_is_refused_at_once():
    for path in (Path("/dev/zero"), Path("/dev/urandom")):
        with pytest.raises(InputError, match="is not a regular file"):
            Bundle.open(path)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.ekb")
    with pytest.raises(InputError, match=r"pipe\.ekb: is not a regular file"):
        Bundle.open(tmp_path / "pipe.ekb")


def test_the_limit_of_a_bundle_is_named_and_can_be_raised(toy_bundle, monkeypatch):
    path = toy_bundle()
    monkeypatch.setenv("EDGEKILN_MAX_BUNDLE_BYTES", "1000")
    with pytest.raises(InputError, match="bytes, a bundle may have 1000") as caught:
        Bundle.open(path)
    assert "EDGEKILN_MAX_BUNDLE_BYTES" in caught.value.hint
    monkeypatch.setenv("EDGEKILN_MAX_BUNDLE_BYTES", "1000000")
    assert Bundle.open(path).program == TOY
    monkeypatch.setenv("EDGEKILN_MAX_BUNDLE_BYTES", "much")
    with pytest.raises(ConfigError, match="EDGEKILN_MAX_BUNDLE_BYTES = 'much'"):
        Bundle.open(path)


def test_a_flipped_byte_in_a_lib_is_named(toy_lib):
    path = toy_lib()
    content = bytearray(path.read_bytes())
    content[content.index(b"\x7fELF") + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"toy\.lib: libmodel\.so does not match its sha256"):
        bundle.read_program(path)


def test_the_sums_of_a_lib_are_what_sha256sum_checks(toy_lib, tmp_path):
    bundle.extract(toy_lib(), tmp_path / "out")
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], check=True, cwd=tmp_path / "out")


@pytest.mark.parametrize("name", ["toy.ekb", "toy.lib", "toy"])
def test_a_bundle_whose_manifest_was_taken_out_is_refused(toy_bundle, tmp_path, name):
    path = rewritten(toy_bundle(), **{"manifest.json": None, "manifest.json.sha256": None})
    path = path.rename(tmp_path / name)
    with pytest.raises(BundleError, match=r"has no manifest\.json|and no manifest\.json"):
        bundle.read_program(path)


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


@pytest.mark.parametrize("change", [-512, -1, 1, 512, 10240])
def test_zeros_at_the_end_are_as_many_as_were_written(toy_bundle, change):
    path = toy_bundle()
    whole = path.read_bytes()
    path.write_bytes(whole[:change] if change < 0 else whole + bytes(change))
    with pytest.raises(BundleError, match="truncated or damaged after"):
        Bundle.open(path)


def test_any_flipped_bit_is_noticed(toy_bundle):
    path = toy_bundle()
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[draw.integers(len(flipped))] ^= 1 << draw.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(BundleError):
            Bundle.open(path)


@pytest.mark.parametrize("bit", range(8 * 8))
def test_any_flipped_bit_of_a_checksum_is_noticed(toy_bundle, bit):
    path = toy_bundle()
    flipped = bytearray(path.read_bytes())
    flipped[148 + bit // 8] ^= 1 << bit % 8  # the first header's checksum
    path.write_bytes(flipped)
    with pytest.raises(BundleError, match="the header's checksum differs, at byte 0"):
        Bundle.open(path)


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
