"""Arm's programs beside other engines: what is counted, and what the page says."""

from dataclasses import replace
from pathlib import Path

from edgekiln.benchmarks.arm import sysroot
from edgekiln.benchmarks.arm.__main__ import ArmRow, _publish
from edgekiln.benchmarks.arm.peers import PeerEstimate, _engine_only
from edgekiln.compiler.estimate.basic_blocks import ExecutionCounts, Instruction
from edgekiln.targets import profile

MAPS = """\
0000400000-0000500000 r-xp 00000000 00:00 1 /root/usr/bin/python3.11
0000600000-0000700000 r-xp 00000000 00:00 1 /root/site/onnxruntime/pybind11_state.cpython-311.so
0000800000-0000900000 r-xp 00000000 00:00 1 /root/site/numpy/_core/_multiarray.so
0000a00000-0000b00000 r-xp 00000000 00:00 1 /root/lib/libc.so.6
0000c00000-0000d00000 rw-p 00000000 00:00 0
"""


def test_only_the_engine_is_counted() -> None:
    places = [0x400010, 0x600010, 0x800010, 0xA00010]
    code = {at: Instruction("nop", 4) for at in places}
    kept = _engine_only(ExecutionCounts({0: dict.fromkeys(places, 7)}, code), MAPS)
    assert kept.sections == {0: {0x600010: 7, 0xA00010: 7}}


def test_rows_of_several_runs_are_one_result(tmp_path: Path) -> None:
    peer = PeerEstimate(instructions=9, cycles=2000.0, unknown=0, dots={"sdot": 3})
    row = ArmRow(
        network="DS-CNN 49×10", target="rpi5", model="neoverse-n1", macs=16_000, instructions=1,
        peak_macs_per_cycle=32.0, cycles=1000.0,
        peers={"litert": peer, "onnxruntime": replace(peer, cycles=5000.0)},
    )  # fmt: skip
    _publish(tmp_path, row)
    _publish(tmp_path, replace(row, target="rpi4", peak_macs_per_cycle=8.0, cycles=4000.0))
    _publish(tmp_path, replace(row, cycles=500.0))
    _, _, *lines = (tmp_path / "results.md").read_text().splitlines()
    assert lines == [
        "| DS-CNN 49×10 | rpi4 (neoverse-n1) | 0.0 | **4.0** | 2.0 | 5.0 | 4.0, 50% | 0.50× |",
        "| DS-CNN 49×10 | rpi5 (neoverse-n1) | 0.0 | **0.5** | 2.0 | 5.0 | 32.0, 100% | 4.00× |",
    ]


def test_the_emulated_python_sees_an_arm_processor(tmp_path: Path) -> None:
    command = sysroot.command(tmp_path, profile.load("rpi5"))
    assert command[-1].endswith("usr/bin/python3.11")
    text = (tmp_path / "proc" / "cpuinfo").read_text()
    assert "CPU part\t: 0xd0b" in text
    assert "asimddp" in text
