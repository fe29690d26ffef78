"""Skip where the programs behind an estimate are not installed."""

import pytest

from edgekiln.compiler.estimate.tools import LLVM_TOOLS, llvm_tool
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets import profile
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import TargetProfile
from tests import emulated


def require(name: str) -> TargetProfile:
    """The profile, if its instructions can be counted here."""
    target = profile.load(name)
    require_llvm()
    if target.machine != "x86_64":
        emulated.require(target)
    elif missing := runs_here(target).missing:
        pytest.skip(f"this CPU lacks {', '.join(missing)}")
    return target


def require_llvm() -> None:
    try:
        for tool in LLVM_TOOLS:
            llvm_tool(tool)
    except MissingToolError as error:
        pytest.skip(f"{error.message} ({error.hint})")
