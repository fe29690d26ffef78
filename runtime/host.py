"""What machine this is: CPU model, instruction sets, clocks, load. Reads /proc and /sys; standard library only."""

from functools import cache
from pathlib import Path


@cache
def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """CPU features as /proc/cpuinfo spells them ("flags" on x86, "Features" on ARM); empty if unreadable."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
