"""Every kind of device has a back end, and its programs are what that back end says."""

from dataclasses import replace
from typing import get_args

import pytest

from edgekiln.compiler.aot import header_templates
from edgekiln.compiler.aot.backends import microcontroller
from edgekiln.compiler.aot.backends.table import BACKENDS
from edgekiln.compiler.aot.build import build
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.errors import MeasurementError
from edgekiln.targets import profile
from edgekiln.targets.profile import DeviceKind, Memory
from tests import emulated
from tests.compiler.aot import tiny


def test_every_kind_of_device_has_a_back_end_and_a_header() -> None:
    kinds = set(get_args(DeviceKind))
    assert BACKENDS.keys() == kinds
    assert header_templates.NEEDS.keys() == kinds


def test_a_profile_with_memory_is_a_microcontrollers() -> None:
    assert tiny.PROFILE.kind == "hosted"
    memory = Memory(flash_bytes=1, ram_bytes=1)
    assert replace(tiny.PROFILE, memory=memory).kind == "microcontroller"


@pytest.mark.parametrize(("name", "kind"), [("rpi5", "hosted"), ("cortex-m7", "microcontroller")])
def test_a_program_is_the_files_of_its_back_end(name: str, kind: DeviceKind) -> None:
    target = profile.load(name)
    emulated.require(target)
    assert target.kind == kind
    program = tiny.program()
    built = build(program, target)
    assert tuple(built.files) == BACKENDS[kind].FILES
    assert (b"model_input_offsets" in built.files["model.h"]) == BACKENDS[kind].EDGES_IN_ARENA


@pytest.mark.parametrize(("exit_code", "said"), [(0, ""), (0, "-1\n"), (1, "120\n")])
def test_an_image_that_does_not_say_what_its_stack_takes_has_failed(
    exit_code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done(exit_code=exit_code, stdout=said, stderr="")
    target = profile.load("cortex-m7")
    emulated.require(target)
    monkeypatch.setattr(microcontroller, "execute", lambda *_: done)
    with pytest.raises(MeasurementError, match=f"^mps2-an500: the image failed: {exit_code}$"):
        build(tiny.program(), target)
