"""The kernels of small models are the ones that were reviewed: a change shows in this file's golden
hashes, and in nothing but the kernels it was meant for.
"""

import json
import os
from pathlib import Path

import pytest

from edgekiln.benchmarks.replay.compare import differences
from edgekiln.benchmarks.replay.record import Record, ReplayRecorder
from edgekiln.targets import profile
from tests.benchmarks.replay_models import MODELS

GOLDEN = Path(__file__).with_name("replay_golden.json")
UPDATE = "EDGEKILN_UPDATE_GOLDEN"
# One of each code generator: machine code takes its time.
COMPILED = ("x86-64-v3", "x86-avx512-vnni", "rpi2-armv7", "rpi5", "cortex-m0plus", "cortex-m7")


def reviewed_targets() -> list[str]:
    """Those of the golden hashes, and chips of an instruction set that none of them has: another
    chip of a known one brings no kernel that was not reviewed.
    """
    known = sorted(
        {name for targets in json.loads(GOLDEN.read_text()).values() for name in targets}
    )
    covered = {profile.load(name).isa for name in known}
    others = (name for name in profile.names() if name not in (profile.HOST, *known))
    return known + [name for name in others if profile.load(name).isa not in covered]


def kernels(model: str, target: str, home: Path) -> list[list[str]]:
    """Operation, hash of the TensorIR and, for some targets, of the machine code of each call."""
    recorder = ReplayRecorder(machine_code=target in COMPILED)
    made = recorder.record(MODELS[model](home / "model.onnx"), profile.load(target))
    return [[call["tir"], call.get("object", "")] for call in made["calls"]]


@pytest.mark.parametrize("target", reviewed_targets())
@pytest.mark.parametrize("model", MODELS)
def test_kernels_are_those_that_were_committed(model: str, target: str, tmp_path: Path) -> None:
    """After a change that is meant to change them: EDGEKILN_UPDATE_GOLDEN=1 pytest -n 0 FILE"""
    found = kernels(model, target, tmp_path)
    golden = json.loads(GOLDEN.read_text())
    if os.environ.get(UPDATE):
        golden.setdefault(model, {})[target] = found
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    assert golden.get(model, {}).get(target) == found, f"{UPDATE}=1 writes what is meant"


def recorded(home: Path) -> Record:
    recorder = ReplayRecorder(machine_code=False)
    return recorder.record(MODELS["tokens"](home / "model.onnx"), profile.load("x86-64-v3"))


def test_a_program_does_not_differ_from_itself(tmp_path: Path) -> None:
    assert not [*differences(recorded(tmp_path), recorded(tmp_path))]


def test_another_kernel_is_named_with_its_call(tmp_path: Path) -> None:
    before, after = recorded(tmp_path), recorded(tmp_path)
    after["calls"][2]["tir"] = "other"
    (line,) = differences(before, after)
    assert line.startswith(f"call 2 ({after['calls'][2]['op']} {after['calls'][2]['name']!r}): tir")


def test_names_are_no_difference(tmp_path: Path) -> None:
    before, after = recorded(tmp_path), recorded(tmp_path)
    names = {name: f"renamed {name}" for name, _ in after["buffers"]}
    after["buffers"] = [(names[name], size) for name, size in after["buffers"]]
    for call in after["calls"]:
        call["name"] = f"renamed {call['name']}"
        for index, arg in enumerate(call["args"]):
            buffer, _, offset = arg.rpartition("+")
            if buffer in names:
                call["args"][index] = f"{names[buffer]}+{offset}"
    assert not [*differences(before, after)]
