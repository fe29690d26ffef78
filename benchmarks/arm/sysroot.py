"""An AArch64 Python with the engines in it, for QEMU: Debian's packages and the engines' wheels."""

import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets.profile import TargetProfile

PYTHON = "3.11"
DEBIAN = "http://deb.debian.org/debian"
RELEASE = "bookworm"  # which has this Python
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6")
LITERT = "ai-edge-litert"
WHEELS = (
    "numpy<2.5", "flatbuffers", "packaging", "protobuf", "typing-extensions", "ml_dtypes", "tqdm",
    "backports.strenum",
)  # fmt: skip
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64", "any")
DONE = "complete"

# MIDR_EL1's part number (Arm's technical reference manuals), by which engines choose their kernels.
PARTS: Mapping[str, str] = {"rpi4": "0xd08", "rpi5": "0xd0b", "neoverse-v1": "0xd40"}


def make(home: Path) -> Path:
    """Download and unpack into `home`, unless that is done. No root needed; nothing installed.

    Raises:
        MissingToolError: a download failed; apt-get, dpkg-deb or the network is missing.
    """
    if (home / DONE).exists():
        return home
    try:
        _debian(home)
        _wheels(home)
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", None) or str(error)
        raise MissingToolError(
            f"cannot make an AArch64 Python in {home}: {text.strip()[-300:]}",
            "it needs apt-get, dpkg-deb and pip, and Debian's and PyPI's servers",
        ) from error
    (home / DONE).touch()
    return home


def command(home: Path, target: TargetProfile) -> list[str]:
    """QEMU's arguments that start the Python, whose /proc/cpuinfo is that of `target`."""
    (home / "proc").mkdir(exist_ok=True)
    (home / "proc" / "cpuinfo").write_text(_cpuinfo(target), encoding="utf-8")
    libraries = ":".join(str(home / part / "aarch64-linux-gnu") for part in ("usr/lib", "lib"))
    variables = {
        "PYTHONPATH": home / "site", "PYTHONHOME": home / "usr", "LD_LIBRARY_PATH": libraries,
    }  # fmt: skip
    settings = [part for name, value in variables.items() for part in ("-E", f"{name}={value}")]
    return ["-L", str(home), *settings, str(home / "usr" / "bin" / f"python{PYTHON}")]


def _cpuinfo(target: TargetProfile) -> str:
    """The file as Linux on Arm writes it: QEMU's user mode shows this machine's instead."""
    # 0x41 is Arm Limited as the implementer (MIDR_EL1).
    lines = {
        "processor": "0", "Features": " ".join(target.features), "CPU implementer": "0x41",
        "CPU architecture": "8", "CPU variant": "0x1", "CPU part": PARTS[target.name],
        "CPU revision": "0",
    }  # fmt: skip
    # A gap would be taken for a processor that is offline: one for each of this machine's.
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8").count("processor\t:") or 1
    blocks = (lines | {"processor": str(cpu)} for cpu in range(cpus))
    return "".join(
        "".join(f"{key}\t: {value}\n" for key, value in block.items()) + "\n" for block in blocks
    )


def _debian(home: Path) -> None:
    """Get packages of another architecture by an apt of its own, which knows no other."""
    apt = home / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {DEBIAN} {RELEASE} main\n")
    settings = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": apt / "state",
        "Dir::State::status": apt / "status", "Dir::Cache": apt / "cache",
        # None of this machine's sources, and no lock that only root may take.
        "Dir::Etc::sourcelist": apt / "sources.list", "Dir::Etc::sourceparts": "-",
        "Debug::NoLocking": "true",
    }  # fmt: skip
    get = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    _run([*get, "update"])
    _run([*get, "-y", "--no-install-recommends", "--download-only", "install", *PACKAGES])
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", package, home])


def _wheels(home: Path) -> None:
    """Get the engines in the releases that this environment names, and what they import."""
    engines = (f"onnxruntime=={metadata.version('onnxruntime')}", LITERT)
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    # Another machine's wheels: pip cannot look into what they need, so all of it is listed.
    flags = ["--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}", *platforms]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", home / "site"]
    _run([*pip, *flags, *engines, *WHEELS])


def _run(arguments: list[object]) -> None:
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True, text=True)
