"""Raspberry Pi 5: its power management chip measures every rail.

Raspberry Pi documentation, config.txt, "vcgencmd pmic_read_adc": a line a quantity, such as
`VDD_CORE_A current(7)=1.23400000A` and `VDD_CORE_V volt(15)=0.87500000V`. The sum over the rails is
less than what the 5 V supply gives: the converters' losses and the USB ports are not in it.
"""

import re
import subprocess
from functools import partial
from pathlib import Path

from edgekiln.runtime.errors import debian_hint
from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import PowerMeter, SensorError

PROGRAM = "usr/bin/vcgencmd"
FILES = (PROGRAM,)
SAID = f"{PROGRAM}.said"  # its output just now, in a copy of the board's files
PERIOD_S = 0.2  # each reading is a process; more often, it would be part of the result
TIMEOUT_S = 5.0
LINE = re.compile(r"\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]")


def open_meter(root: Path, _argument: str = "") -> PowerMeter:
    """All rails together. Raises SensorError where there is no such chip."""
    if not any((root / each).exists() for each in (PROGRAM, SAID)):
        raise SensorError("no vcgencmd", hint=f"Raspberry Pi 5: {debian_hint('raspi-utils')}")
    return Integrator("rpi5-pmic", "rails of the board", partial(watts, root), PERIOD_S)


def watts(root: Path) -> float:
    """Σ V·I over the rails that have both. Raises SensorError."""
    said = root / SAID
    text = said.read_text() if said.exists() else _read_adc(root / PROGRAM)
    quantities = {(rail, unit): float(value) for rail, unit, value in LINE.findall(text)}
    rails = [rail for rail, unit in quantities if unit == "A" and (rail, "V") in quantities]
    if not rails:
        last = text.strip().splitlines()[-1:] or ["nothing"]
        raise SensorError(
            f"vcgencmd pmic_read_adc said {last[0]!r}",
            hint="only the Raspberry Pi 5 has it; reading needs group video: "
            "sudo usermod -aG video $USER",
        )
    return sum(quantities[rail, "V"] * quantities[rail, "A"] for rail in rails)


def _read_adc(program: Path) -> str:
    """What it says, or why it does not."""
    try:
        done = subprocess.run(
            [program, "pmic_read_adc"],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"vcgencmd: {error}", hint="try: vcgencmd pmic_read_adc") from error
    return done.stderr if done.returncode else done.stdout
