"""What a build needs and whether this machine has it, each with the command that installs it."""

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from edgekiln.compiler.environment import toolchain
from edgekiln.compiler.estimate.tools import LLVM_TOOLS, llvm_tool
from edgekiln.compiler.pipeline.atomic_io import free_bytes, writable
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.device.qemu import EMULATORS, package_of
from edgekiln.runtime.errors import EdgeKilnError, MissingToolError, debian_hint
from edgekiln.targets import profile
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import TargetProfile

EXTRAS = ("build", "cuda", "search", "vision")
NEEDED_BYTES = 1 << 30  # a build of the zoo's largest model, all its artifacts
# Requires-Dist of the core metadata: "torch==2.13.0; extra == 'build'".
REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?P<pin>[<>=!~][^;]*)?(;.*extra == .(?P<extra>\w+).)?"
)
Status = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing a build may need."""

    area: str  # "python", "extra vision", "target x86-64-v3", "store"
    name: str
    status: Status
    found: str
    wanted: str = ""
    fix: str = ""  # the command that mends it
    needed: bool = True  # False: builds for this machine work without it

    @property
    def stops_the_build(self) -> bool:
        """Whether no build for this machine works until it is mended."""
        return self.needed and self.status != "ok"


def examine() -> tuple[Check, ...]:
    """Every check, in the order in which to mend things."""
    return (*_python(), *_packages(), *_targets(), *emulators(), *_estimates(), _store())


def toolchain_check(target: TargetProfile, *, needed: bool = True) -> Check:
    """Whether programs for `target` can be compiled here."""
    tools = target.toolchain
    problem = toolchain.problem(target)
    return Check(
        area=f"target {target.name}",
        name=tools.cc,
        status="missing" if problem else "ok",
        found=problem or toolchain.version(tools.cc),
        fix=toolchain.install_command(tools) if problem else "",
        needed=needed,
    )


def _python() -> Iterator[Check]:
    version = platform.python_version()
    old = sys.version_info < (3, 11)  # a copied tree may meet an old interpreter
    yield Check(
        area="python",
        name="python",
        status="wrong" if old else "ok",
        found=version,
        wanted=">=3.11",
        fix=debian_hint("python3.11", "python3.11-venv") if old else "",
    )


def _packages() -> Iterator[Check]:
    """The distribution's own requirements against what is installed."""
    # Blanks stand where a build backend pleases; the pattern knows one way.
    for line in metadata.requires("edgekiln") or []:
        match = REQUIREMENT.match(line.replace(" ", "").replace("extra==", "extra == "))
        assert match is not None, line
        extra = match["extra"] or "build"
        if extra in EXTRAS:
            yield _package(match["name"], match["pin"] or "", extra)


def _package(name: str, pin: str, extra: str) -> Check:
    try:
        found = metadata.version(name)
        status: Status = "ok" if satisfies(found, pin) else "wrong"
    except metadata.PackageNotFoundError:
        found, status = "not installed", "missing"
    return Check(
        area="python" if extra == "build" else f"extra {extra}",
        name=name,
        status=status,
        found=found,
        wanted=pin,
        fix="" if status == "ok" else f"pip install '{name}{pin}'",
        needed=extra == "build",
    )


def satisfies(version: str, pin: str) -> bool:
    """Whether `version` fits a pin of our own pyproject, all parts `==X`, `>=X` and `<X` of it."""
    public = version.partition("+")[0]  # torch 2.13.0+cpu is torch 2.13.0
    for part in filter(None, pin.split(",")):
        wanted = part.lstrip("=<>")
        match part.removesuffix(wanted):
            case "==":
                fits = public == wanted
            case ">=":
                fits = _release(public) >= _release(wanted)
            case "<":
                fits = _release(public) < _release(wanted)
            case _:
                fits = True
        if not fits:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _targets() -> Iterator[Check]:
    """The host's compiler is needed; the others only by those who build for them."""
    try:
        yield toolchain_check(profile.load(profile.HOST))
    except EdgeKilnError as error:
        yield Check(
            area="target host", name="cpu", status="missing", found=error.message, fix=error.hint
        )
    for name in profile.names():
        if name != profile.HOST:
            yield toolchain_check(profile.load(name), needed=False)


def emulators() -> Iterator[Check]:
    """What runs other machines' programs here, for those who check them without a board."""
    targets = (profile.load(name) for name in profile.names() if name != profile.HOST)
    emulated = {EMULATORS[each.machine] for each in targets if each.qemu_cpu or each.board}
    for name in sorted(emulated):
        found = shutil.which(name)
        yield Check(
            area="emulator",
            name=name,
            status="ok" if found else "missing",
            found=found or "not installed",
            fix="" if found else debian_hint(package_of(name)),
            needed=False,
        )


def _estimates() -> Iterator[Check]:
    """LLVM's pipeline models, for `edgekiln estimate`; QEMU is among the emulators."""
    for name in LLVM_TOOLS:
        try:
            found, fix = llvm_tool(name), ""
        except MissingToolError as error:
            found, fix = "not installed", error.hint
        yield Check(
            area="estimates",
            name=name,
            status="missing" if fix else "ok",
            found=found,
            fix=fix,
            needed=False,
        )


def _store() -> Check:
    root = Store().root
    free = free_bytes(root)
    problem = "" if writable(root) else "cannot be written"
    status: Status = "missing" if problem else "ok" if free >= NEEDED_BYTES else "wrong"
    return Check(
        area="store",
        name=str(root),
        status=status,
        found=problem or f"{free / 2**30:.1f} GiB free",
        wanted=f">={NEEDED_BYTES >> 30} GiB free",
        fix="" if status == "ok" else "export EDGEKILN_STORE=/a/larger/disk",
    )


def foreign(target: TargetProfile) -> str:
    """Why a program for `target` does not run on this machine; "" if it does."""
    fit = runs_here(target)
    if not fit.same_machine:
        return f"runs on {target.machine}, this machine is {platform.machine()}"
    return f"this CPU lacks {' '.join(fit.missing)}" if fit.missing else ""
