"""Who must have signed what runs here.

A bundle is its maker's native code. Its checksums say that it is whole, a signature says whose it
is. Two things demand one: a file of keys given with a call or a command, and, on machines that have
it, POLICY, under which nothing unsigned runs through EdgeKiln at all.
"""

import os
from pathlib import Path

from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.signature import verify_program

POLICY = Path("/etc/edgekiln/allowed_signers")  # as ssh-keygen(1) describes; boards have it, too


def machine_signers() -> Path | None:
    """POLICY, where this machine has it, or does not let us see whether it has."""
    try:
        os.lstat(POLICY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # a folder that may not be searched, say: the demand is there, its keys are not
        pass
    return POLICY


def open_trusted(path: Path, signers: Path | None = None) -> ProgramFile:
    """A program's file, read once, whose signature has been verified where one is demanded.

    Args:
        signers: a public key, or a file of allowed signers; None: as this machine demands.

    Raises:
        InputError: a file cannot be read.
        BundleError: damaged, or not signed by one of them.
        MissingToolError: there is no ssh-keygen.
    """
    opened = ProgramFile.open(path)
    require_signature(opened, signers or machine_signers(), "this machine")
    return opened


def require_signature(opened: ProgramFile, signers: Path | None, runner: str) -> None:
    """Demand the signature of somebody whom `runner`, a machine in words, trusts; nothing where
    `signers` is None.

    Raises:
        BundleError: not signed, by somebody else, or changed since.
        InputError: there is no such key.
        MissingToolError: there is no ssh-keygen.
    """
    if signers is None:
        return
    try:
        verify_program(opened, signers)
    except BundleError as error:
        demand = f"{runner} runs only what {signers.name} has signed"
        raise BundleError(f"{error.message}; {demand}", error.hint) from error
