"""Whole programs for microcontrollers on QEMU's boards: the bits of the program for x86."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.aot.backends import microcontroller
from edgekiln.compiler.build import driver as engine
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.devices.emulated import predict
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.package import PackageStage
from edgekiln.runtime import bundle
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.device.qemu import QemuDevice, board_command
from edgekiln.runtime.errors import BundleError, GateError
from edgekiln.runtime.inputs import quantize
from edgekiln.runtime.manifest import ProgramSpec, TensorSpec
from edgekiln.targets import profile
from edgekiln.targets.profile import Memory, TargetProfile
from tests import emulated
from tests.compiler import artifacts
from tests.e2e.compiled_models import build, residual_net
from tests.e2e.test_arm_qemu import REFERENCE, reference

MICROCONTROLLERS = [
    name for name in profile.names()[1:] if profile.load(name).kind == "microcontroller"
]
KIB = 1024

CALLER = r"""
#include <stdio.h>
#include <string.h>
#include "model.h"
enum { ROUNDS = 4, EDGE = 256 };
static const unsigned char fillings[ROUNDS] = {0x00, 0xff, 0xaa, 0x7f};
/* Each memory between two borders that nobody may write. */
static struct {
    _Alignas(MODEL_ALIGN) unsigned char before[EDGE], arena[MODEL_ARENA_BYTES], between[EDGE];
    _Alignas(MODEL_ALIGN) unsigned char in[MODEL_INPUT_0_BYTES], behind[EDGE];
    _Alignas(MODEL_ALIGN) unsigned char edge[EDGE], out[MODEL_OUTPUT_0_BYTES], last[EDGE];
} m;
static unsigned char x[MODEL_INPUT_0_BYTES], first[MODEL_OUTPUT_0_BYTES];

static int spoiled(const unsigned char *border, unsigned char filling) {
    for (int i = 0; i < EDGE; i++) if (border[i] != filling) return 1;
    return 0;
}

int main(void) {
    FILE *from = fopen("x.bin", "rb"), *to = fopen("y.bin", "wb");
    if (!from || !to || fread(x, 1, sizeof x, from) != sizeof x) return 2;
    for (int i = 0; i < ROUNDS; i++) {
        memset(&m, fillings[i], sizeof m);
        memcpy(m.in, x, sizeof x);
        if (model_run((const void *const[]){m.in}, (void *const[]){m.out}, m.arena)) return 3;
        if (spoiled(m.before, fillings[i]) || spoiled(m.between, fillings[i]) ||
            spoiled(m.behind, fillings[i]) || spoiled(m.edge, fillings[i]) ||
            spoiled(m.last, fillings[i]) || memcmp(m.in, x, sizeof x)) return 4;
        if (i == 0) memcpy(first, m.out, sizeof first);
        if (memcmp(first, m.out, sizeof first)) return 5;
    }
    fwrite(first, 1, sizeof first, to);
    return fclose(to) ? 6 : 0;
}
"""


class Lib:
    """A model's program for one microcontroller, in a directory."""

    def __init__(self, model: Path, target: TargetProfile) -> None:
        emulated.require(target)
        self.target = target
        self.path = build(model, target)
        self.home = model.parent / f"{model.stem}-{target.name}"
        bundle.extract(self.path, self.home)
        self.spec: ProgramSpec = bundle.read_program(self.path)[0]

    def run(self, command: list[str], x: bytes) -> bytes:
        """The program's output as floats, for an input of floats."""
        (self.home / "x.bin").write_bytes(codes(x, self.spec.inputs[0]))
        subprocess.run(command, cwd=self.home, check=True)
        return floats((self.home / "y.bin").read_bytes(), self.spec.outputs[0])

    def run_image(self, x: bytes) -> bytes:
        assert self.target.board is not None
        arguments = ["run", "--input", "x.bin", "--output", "y.bin"]
        return self.run(board_command(self.target.board.machine, bundle.IMAGE, arguments), x)


def codes(x: bytes, spec: TensorSpec) -> bytes:
    return quantize(np.frombuffer(x, np.float32).reshape(spec.shape), spec).tobytes()


def floats(y: bytes, spec: TensorSpec) -> bytes:
    if spec.scale is None or spec.zero_point is None:
        return y
    values = np.frombuffer(y, spec.dtype).astype(np.int32) - spec.zero_point
    return (values.astype(np.float32) * np.float32(spec.scale)).tobytes()


def check_bits(model: Path, names: list[str], samples: int = 3) -> dict[str, Lib]:
    inputs, expected = reference(model, samples)
    libs = {name: Lib(model, profile.load(name)) for name in names}
    assert names
    for lib in libs.values():
        assert [lib.run_image(x) for x in inputs] == expected, lib.target.name
    return libs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("cortex m") / "net.onnx")


@pytest.fixture(scope="module")
def libs(model: Path) -> dict[str, Lib]:
    return check_bits(model, MICROCONTROLLERS)


def test_a_microcontroller_computes_the_bits_of_x86(libs: dict[str, Lib]) -> None:
    assert libs.keys() == set(MICROCONTROLLERS)
    for lib in libs.values():  # the fixture compared their outputs
        assert {layer.integer for layer in lib.spec.layers} == {True}
        assert [tensor.dtype for tensor in lib.spec.inputs] == ["int8"]
        assert sorted(bundle.read_program(lib.path)[1]) == [
            "firmware.elf", "libmodel.a", "model.h", "program.json",
        ]  # fmt: skip


def test_flash_and_ram_are_what_is_linked(libs: dict[str, Lib]) -> None:
    assert libs.keys() == set(MICROCONTROLLERS)
    for lib in libs.values():
        spec, needs = lib.spec, lib.spec.footprint
        assert needs is not None
        assert needs.flash_bytes == spec.code_bytes + spec.weights_bytes
        assert needs.ram_bytes == spec.arena_bytes + needs.stack_bytes + needs.variables_bytes
        assert needs.variables_bytes == 0
        assert 64 < needs.stack_bytes < 2 * KIB


def test_the_library_needs_neither_heap_nor_files(libs: dict[str, Lib]) -> None:
    assert libs.keys() == set(MICROCONTROLLERS)
    for lib in libs.values():
        command = ["arm-none-eabi-nm", "-u", "libmodel.a"]
        listing = subprocess.check_output(command, cwd=lib.home, text=True)
        wanted = {line.split()[1] for line in listing.splitlines() if " U " in line}
        if lib.target.soft_float:  # functions of the compiler's own library, which need nothing
            wanted = {name for name in wanted if not re.match(r"__(aeabi_[fil]|clz)", name)}
        assert wanted <= {"memcpy", "memset", "memmove"}


def test_a_users_firmware_links_the_library_which_keeps_to_its_memory(
    libs: dict[str, Lib], model: Path
) -> None:
    """With buffers of its own for input and output, and whatever lies in them before."""
    inputs, outputs = reference(model, 1)
    assert libs.keys() == set(MICROCONTROLLERS)
    for lib in libs.values():
        assert lib.target.board is not None
        (lib.home / "caller.c").write_text(CALLER)
        microcontroller.write_sources(lib.home)
        command = [
            lib.target.toolchain.cc, "caller.c", microcontroller.STARTUP, "libmodel.a",
            *microcontroller.link_flags(lib.target), "-lm", "-o", "caller.elf",
        ]  # fmt: skip
        subprocess.run(command, cwd=lib.home, check=True)
        caller = board_command(lib.target.board.machine, "caller.elf", [])
        assert lib.run(caller, inputs[0]) == outputs[0]


def test_a_data_set_is_predicted_in_one_run_of_the_image(libs: dict[str, Lib], model: Path) -> None:
    lib = libs["cortex-m55"]
    inputs, outputs = reference(model, 3)
    spec, files = bundle.read_program(lib.path)
    samples = b"".join(codes(x, spec.inputs[0]) for x in inputs)
    batch = np.frombuffer(samples, np.int8).reshape(-1, *spec.inputs[0].shape[1:])
    (found,) = predict(spec, files[bundle.IMAGE], [batch])
    assert floats(found.tobytes(), spec.outputs[0]) == b"".join(outputs)


def test_a_bundle_is_checked_on_the_emulated_board(libs: dict[str, Lib], tmp_path: Path) -> None:
    lib = libs["cortex-m4"]
    packed = tmp_path / "m4.ekb"
    PackageStage().run(
        artifacts.of(lib.path), packed, StageContext(target=lib.target, scratch=tmp_path)
    )
    with QemuDevice() as device:
        assert check_example(packed, device) == tuple(each.name for each in lib.spec.outputs)
    with LocalDevice() as device, pytest.raises(BundleError, match="made for armv7e-m"):
        check_example(packed, device)


@pytest.mark.parametrize(
    ("flash_bytes", "ram_bytes", "message"),
    [
        (4096, 1 << 20, r"takes .* of flash \(weights .* code .*\), .* more than the 4.0 KiB"),
        (1 << 20, 1024, r"takes .* of RAM \(arena .*\), .* more than the 1.0 KiB"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_by_how_much(
    model: Path, flash_bytes: int, ram_bytes: int, message: str
) -> None:
    memory = Memory(flash_bytes=flash_bytes, ram_bytes=ram_bytes)
    target = replace(profile.load("cortex-m4"), name="small", memory=memory)
    emulated.require(target)
    with pytest.raises(GateError, match=message) as error:
        build(model, target)
    assert 'extends = "small"' in error.value.hint


def untrained(name: str, data: str, home: Path) -> Path:
    """The int8 model of a network of the zoo."""
    recipe = Recipe(data=data, skip=("distill", "prune"))
    target = profile.load(REFERENCE)
    request = engine.Request(model=name, targets=(target,), recipe=recipe, out=home, trial_s=0.0)
    store = Store(home / "store")
    result = engine.build(request, store, progress)
    (int8,) = (
        record["sha256"]
        for record in bundle.Bundle.open(Path(result.targets[0].bundle)).manifest.provenance
        if record["kind"] == "onnx-int8"
    )
    artifact = store.find(str(int8))
    assert artifact is not None
    model = home / f"{name}.onnx"
    model.write_bytes(artifact.path.read_bytes())
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("resnet8", "digits"),
        ("dscnn", "tones"),
        ("mobilenetv1", "digits?size=96"),
        ("autoencoder", "hum"),
        ("mobilenetv2", "digits?size=224&limit=600"),
    ],
)
def test_whole_networks_give_the_bits_of_x86(tmp_path: Path, name: str, data: str) -> None:
    # MobileNetV2's weights are more than the flash of most.
    most = 5 * KIB * KIB if name == "mobilenetv2" else 0
    memories = {each: profile.load(each).memory for each in MICROCONTROLLERS}
    names = [each for each, memory in memories.items() if memory and memory.flash_bytes >= most]
    libs = check_bits(untrained(name, data, tmp_path), names, samples=1)
    if name == "mobilenetv1":
        footprints = [lib.spec.footprint for lib in libs.values()]
        assert all(each and each.ram_bytes <= 128 * KIB for each in footprints)


@pytest.mark.data
def test_mlperf_tinys_resnet_takes_less_than_64_kib_of_ram(
    shared_data: Path, tmp_path: Path
) -> None:
    model = tmp_path / "resnet8.onnx"
    model.write_bytes((shared_data / "mlperf_tiny" / "ic_resnet8_int8_qdq.onnx").read_bytes())
    lib = check_bits(model, ["cortex-m7"], samples=1)["cortex-m7"]
    assert lib.spec.footprint is not None
    assert lib.spec.footprint.ram_bytes <= 64 * KIB
    assert all(each.output.dtype != "int32" for each in lib.spec.layers if each.output)
