"""The board's side of `rpc`: four verbs for the session that holds the board.

TVM's server runs each session in a process of its own, in a directory that it removes afterwards.
Files are kept elsewhere by their content, so that none is sent twice, and linked into it.
"""

import base64
import hashlib
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

from edgekiln.runtime import codec, host
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.local import execute, place
from edgekiln.runtime.device.rpc import INSTALL_HINT, import_rpc, reach
from edgekiln.runtime.errors import ConfigError, DeviceError, MissingToolError, StorageError

KEEP_DAYS = 30  # files that no run has used for so long go, as on boards behind ssh


def serve(tracker: str, key: str, *, address: str = "127.0.0.1", port: int = 9090) -> Any:
    """Register this machine with a tracker; the server, whose `proc` lives until it is ended.

    Args:
        tracker: "host:port".
        address: where clients reach this machine.

    Raises:
        ConfigError: `tracker` has another form.
        DeviceError: the tracker or the port cannot be used.
        MissingToolError: TVM or what its RPC needs is not installed.
    """
    name, _, number = tracker.rpartition(":")
    if not name or not number.isdecimal():
        raise ConfigError(f"tracker = {tracker!r}", hint="give HOST:PORT, e.g. 10.0.0.2:9190")
    rpc = import_rpc()
    try:
        reach((name, int(number)))
        return rpc.Server(
            address,
            port=port,
            port_end=port + 100,
            tracker_addr=(name, int(number)),
            key=key,
            silent=True,
            server_init_callback=register,
        )
    except ImportError as error:
        raise MissingToolError(f"TVM's RPC server: {error}", INSTALL_HINT) from error
    except (ConnectionLost, OSError, RuntimeError) as error:
        raise DeviceError(
            f"cannot serve at {address}:{port} for {tracker}: {error}",
            hint="start the tracker first: python -m tvm.exec.rpc_tracker",
        ) from error


def register() -> None:
    """Called in the server's process, before any session."""
    from tvm_ffi import register_global_func

    for verb, function in {"look": look, "have": have, "put": put, "run": run}.items():
        register_global_func(f"edgekiln.{verb}", function, override=True)


def look(_request: str) -> str:
    return json.dumps(
        {
            "machine": codec.encode(host.machine()),
            "state": codec.encode(host.state()),
            "flags": sorted(host.cpu_flags()),
            "affinity": host.affinity(),
        }
    )


def have(digest: str) -> str:
    """Whether a file of this hash is kept here, undamaged."""
    path = _kept() / Path(digest).name
    here = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
    if here:
        path.touch()
        _use(path)
    else:
        path.unlink(missing_ok=True)
    return json.dumps({"here": here})


def put(content: str) -> str:
    """Base64: strings are what every version of TVM's RPC carries."""
    kept = _kept()
    try:
        kept.mkdir(parents=True, exist_ok=True)
        _drop_old(kept)
        _use(place(kept, base64.b64decode(content)))
    except OSError as error:
        return json.dumps({"problem": f"cannot write below {kept}: {error.strerror}"})
    except StorageError as error:
        return json.dumps({"problem": error.message})
    return json.dumps({"problem": ""})


@cache
def _drop_old(kept: Path) -> None:
    """Once in a session, which is a process of its own."""
    for path in kept.iterdir():
        if time.time() - path.stat().st_mtime > KEEP_DAYS * 86_400:
            path.unlink(missing_ok=True)


def _kept() -> Path:
    return Path.home() / ".cache/edgekiln/boards"


def _use(path: Path) -> None:
    """In the session's directory, under the same name."""
    place = Path.cwd() / path.name
    if not place.exists():
        place.symlink_to(path)


def run(request: str) -> str:
    """A file of `put` and its arguments; names of other such files are found beside it."""
    asked = json.loads(request)
    program, *arguments = asked["command"]
    answer: dict[str, Any] = {"timed_out": False, "cannot_start": "", "done": None}
    try:
        done = execute([str(Path.cwd() / Path(program).name), *arguments], asked["timeout_s"])
        answer["done"] = codec.encode(done)
    except TimeoutError:
        answer["timed_out"] = True
    except OSError as error:
        answer["cannot_start"] = error.strerror or str(error)
    return json.dumps(answer)
