"""The targets' reference, from the profiles."""

from collections.abc import Iterator

from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

INTRODUCTION = """# Targets

A target is one TOML file, `targets/profiles/NAME.toml`. `--target` takes a name of this page,
`host`, or the path of a file of your own; `host` is the profile that fits this machine
(`edgekiln targets detect` says which, and why). Numbers have their sources as comments in the
files.

Your own chip is a few lines over one that is near to it, see
[a chip](../contributing.md#add-a-chip):

```toml
name = "my-board"
description = "Our gateway: four Cortex-A55 cores"
extends = "generic-aarch64"
cores = 4
```
"""


def page() -> str:
    """Markdown: a table of all profiles, then a section a profile."""
    found = [profile.load(name) for name in profile.names() if name != profile.HOST]
    rows = [
        f"| [{each.name}](#{each.name}) | {each.description} | `{each.isa}` |" for each in found
    ]
    table = "\n".join(["| target | chip | instruction set |\n|---|---|---|", *rows])
    return "\n\n".join([INTRODUCTION, table, *map(_section, found)]) + "\n"


def _section(target: TargetProfile) -> str:
    rows = [f"| {name} | {value} |" for name, value in _facts(target) if value]
    lines = [f"## {target.name}", "", target.description + ".", "", "| | |", "|---|---|", *rows]
    return "\n".join(lines)


def _facts(target: TargetProfile) -> Iterator[tuple[str, str]]:
    yield "derived from", ", ".join(f"[{name}](#{name})" for name in target.bases)
    yield "kernels", f"`{target.isa}`"
    yield "machine", f"`{target.machine}`"
    yield "CPU features needed", " ".join(f"`{feature}`" for feature in target.features)
    yield "cores", str(target.cores)
    caches = (("L1d", target.caches.l1d), ("L2", target.caches.l2), ("L3", target.caches.l3))
    yield "caches of a core", ", ".join(f"{name} {_kib(size)}" for name, size in caches if size)
    if target.memory:
        memory = target.memory
        yield "memory", f"flash {_kib(memory.flash_bytes)}, RAM {_kib(memory.ram_bytes)}"
    yield "pruned widths", f"multiples of {target.channel_multiple}"
    yield "compiler", f"`{target.toolchain.cc}`"
    yield "Debian packages", " ".join(f"`{package}`" for package in target.toolchain.packages)
    yield "emulated as", f"QEMU's `{target.qemu_cpu}`" if target.qemu_cpu else ""
    yield "emulated board", f"QEMU's `{target.board.machine}`" if target.board else ""
    yield "estimated as", f"LLVM's `{target.scheduling_model}`" if target.scheduling_model else ""


def _kib(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size / 2**10:g} KiB"
