"""The board's side of `rpc`: three verbs for the session that holds the board.

TVM's server runs each session in a process of its own, in a directory that it removes afterwards.
"""

import base64
import json
from pathlib import Path
from typing import Any

from edgekiln.runtime import codec, host
from edgekiln.runtime.device.held import ConnectionLost
from edgekiln.runtime.device.local import execute, place
from edgekiln.runtime.device.rpc import INSTALL_HINT, import_rpc, reach
from edgekiln.runtime.errors import ConfigError, DeviceError, MissingToolError, StorageError


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

    for verb, function in {"look": look, "put": put, "run": run}.items():
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


def put(content: str) -> str:
    """Base64: strings are what every version of TVM's RPC carries."""
    try:
        place(Path.cwd(), base64.b64decode(content))
    except StorageError as error:
        return json.dumps({"problem": error.message})
    return json.dumps({"problem": ""})


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
