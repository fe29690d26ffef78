"""The target's C compiler and its binutils, run where no path of this machine gets out."""

import errno
import os
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from edgekiln.compiler.pipeline.object_cache import NO_CACHE, ObjectCache
from edgekiln.runtime.codec import digest
from edgekiln.runtime.errors import MissingToolError, StorageError, debian_hint
from edgekiln.targets.profile import Toolchain

# What makes a program need more than the architecture's baseline, and so must not reach the code
# that checks whether this machine has more.
_TUNING_FLAGS = ("-march=", "-mcpu=", "-mtune=", "-mattr=", "-mfpu=")

# Our own headers are always there.
_MISSING_HEADER = re.compile(r"fatal error: (\S+\.h): No such file or directory")

_COMMON = ("-std=c11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


class GeneratedCodeError(Exception):
    """The C compiler refused what we generated: a bug of ours, not the user's mistake."""


class Compiler:
    """Runs one `Toolchain` inside `home`, on relative paths: equal input, equal bytes."""

    def __init__(self, toolchain: Toolchain, home: Path, cache: ObjectCache = NO_CACHE) -> None:
        self.home = home
        self._toolchain = toolchain
        self._cache = cache

    def compile(self, sources: Iterable[str], *flags: str, baseline: bool = False) -> list[str]:
        """Compile C and assembler files side by side; returns the objects' names, in order.

        Args:
            baseline: whether the code must run on any machine of the architecture.
        """
        cflags = self._toolchain.cflags
        if baseline:
            cflags = tuple(flag for flag in cflags if not flag.startswith(_TUNING_FLAGS))
        options = (*_COMMON, *cflags, *flags)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda source: self._compile(source, options), sources))

    def _compile(self, source: str, options: tuple[str, ...]) -> str:
        """Compile one file, or find its object by the hash of its preprocessed text."""
        result = self.home / f"{source}.o"
        compile_ = (*options, "-c", source, "-o", result.name)
        # Assembler reads files by .incbin, which the preprocessed text does not hold.
        if not source.endswith(".c") or self._cache.root is None:
            self._cc(*compile_)
            return result.name
        # -P: without line markers, which name files, and by which equal code would differ.
        text = self._cc(*options, "-E", "-P", source)
        key = digest(
            {"cc": self._toolchain.cc, "version": self._version, "options": options, "text": text}
        )
        if cached := self._cache.get(key):
            result.write_bytes(cached)
        else:
            self._cc(*compile_)
            self._cache.put(key, result.read_bytes())
        return result.name

    @cached_property
    def _version(self) -> str:
        return self._cc("--version")

    def link(self, result: str, inputs: Iterable[str], *flags: str) -> None:
        """Link with the compiler as driver. Libraries go into `flags`, which follow the inputs."""
        ldflags = self._toolchain.ldflags
        self._cc("-o", result, *inputs, *flags, "-Wl,--build-id=none", *ldflags)

    def tool(self, name: str, *args: str) -> str:
        """Run a binutils program that belongs to the compiler: "ar", "objcopy", "size"."""
        path = self._cc(f"-print-prog-name={name}").strip()
        return self._run(path, *args)

    def _cc(self, *args: str) -> str:
        return self._run(self._toolchain.cc, *args)

    def _run(self, *command: str) -> str:
        try:
            done = subprocess.run(
                command, cwd=self.home, capture_output=True, text=True, errors="replace",
                # In English, for `_explain` reads what it says.
                check=False, env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip
        except OSError:
            raise MissingToolError(f"{command[0]} is not installed", self._install()) from None
        if done.returncode != 0:
            self._explain(command, done.stderr)
        return done.stdout

    def _explain(self, command: tuple[str, ...], stderr: str) -> NoReturn:
        """Tell a machine that lacks something from a mistake in what we generated."""
        if "cannot find -l" in stderr and "-static" in command:
            raise MissingToolError(
                f"{command[0]} cannot link a static executable: libc.a is missing", self._install()
            )
        if header := _MISSING_HEADER.search(stderr):
            raise MissingToolError(
                f"{command[0]} has no C library for its target: {header[1]} is missing",
                self._install(),
            )
        if os.strerror(errno.ENOSPC) in stderr:
            raise StorageError(f"no space left in {self.home.parent}", "free some, or set TMPDIR")
        raise GeneratedCodeError(f"{' '.join(command)}: {_first_error(stderr)}")

    def _install(self) -> str:
        packages = self._toolchain.packages or ("libc6-dev",)
        return debian_hint(*packages)


def _first_error(stderr: str) -> str:
    lines = stderr.strip().splitlines() or ["failed without a word"]
    return next((line for line in lines if "error" in line.lower()), lines[-1])
