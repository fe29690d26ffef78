"""A shared store in S3: moto's server on loopback, spoken to by s3fs."""

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.pipeline.remote_store import SharedStore
from tests.compiler.float_models import residual, write
from tests.compiler.pipeline.test_remote_store import Never, Write

pytestmark = pytest.mark.skipif(
    find_spec("moto") is None or find_spec("s3fs") is None, reason="needs moto and s3fs (extra dev)"
)

BUCKET = "team"
URL = f"s3://{BUCKET}/edgekiln"
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print("SERVING", *server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """In a process of its own, so that its threads and sockets are not the tests'."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        line = next(line for line in server.stdout if line.startswith("SERVING"))
        _, host, port = line.split()
        yield f"http://{host}:{port}"
        server.terminate()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """As users have it: the address and the keys are in the environment."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    if fs.exists(BUCKET):
        fs.rm(BUCKET, recursive=True)
    fs.mkdir(BUCKET)
    return URL


def test_what_one_machine_made_another_finds_verified(bucket: str, tmp_path: Path) -> None:
    made = SharedStore(bucket, tmp_path / "one").run(Write(), None)
    found = SharedStore(bucket, tmp_path / "two").run(Never(), None)
    assert (made.cached, found.cached) == (False, True)
    assert found.path.read_text() == "text"


def test_what_is_damaged_there_is_made_again_and_mended(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import s3fs

    SharedStore(bucket, tmp_path / "one").run(Write(), None)
    fs = s3fs.S3FileSystem()
    (packed,) = fs.ls(bucket)
    fs.pipe(packed, fs.cat(packed)[:1000])
    fs.invalidate_cache()
    assert not SharedStore(bucket, tmp_path / "two").run(Write(), None).cached
    assert "note: cannot read the store" in capsys.readouterr().err
    assert SharedStore(bucket, tmp_path / "three").run(Never(), None).cached


@pytest.mark.usefixtures("bucket")
def test_a_stages_command_shares_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write(residual(), tmp_path / "net.onnx")
    for machine, when in (("one", " s)"), ("two", "cached)")):
        monkeypatch.setenv("EDGEKILN_STORE", str(tmp_path / machine))
        arguments = ["quantize", model, "-o", tmp_path / f"{machine}.onnx", "--data", "digits"]
        done = CliRunner().invoke(edgekiln, [*map(str, arguments), "--store", URL])
        assert done.exit_code == 0, done.output
        assert when in done.output
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_what_killed_uploads_left_goes_from_a_bucket(bucket: str, tmp_path: Path) -> None:
    import s3fs

    shared = SharedStore(bucket, tmp_path / "one")
    shared.run(Write(), None)
    fs = s3fs.S3FileSystem()
    (whole,) = fs.ls(bucket)
    fs.pipe(f"{whole}.{'a' * 32}", b"half")
    assert shared.remove_unfinished() == 0  # somebody may be at it
    assert shared.remove_unfinished(now_s=time.time() + 90_000) == 4
    fs.invalidate_cache()
    assert fs.ls(bucket) == [whole]
    assert SharedStore(f"{bucket}/nothing-yet", tmp_path / "two").remove_unfinished() == 0


def test_wrong_keys_are_said_once_and_the_build_goes_on(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import s3fs

    def refused(*_args: object, **_kwargs: object) -> None:
        raise PermissionError("The AWS Access Key Id you provided does not exist in our records.")

    for verb in ("_get_file", "_put_file", "_exists"):
        monkeypatch.setattr(s3fs.S3FileSystem, verb, refused)
    store = SharedStore(bucket, tmp_path / "one")
    assert [store.run(Write(text=text), None).cached for text in "ab"] == [False, False]
    said = capsys.readouterr().err
    assert said.count("note: cannot") == 1
    assert "Access Key Id" in said
