"""Random networks on every kind of processor: the bits of the program for x86, each of whose layers
is ONNX Runtime's.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekiln.compiler.devices.emulated import predict
from edgekiln.compiler.evaluation.layerwise import verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime import bundle
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.runtime.inputs import quantize
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests import emulated, opencl
from tests.compiler import artifacts
from tests.compiler.random_nets.net import RandomNet
from tests.e2e.test_arm_qemu import require_features

REFERENCE = "x86-64-v3"
# One of each micro-kernel, and of the microcontrollers whose costs differ.
TARGETS = (
    "rpi4", "rpi5", "neoverse-v1", "rpi2-armv7", "riscv64-rvv", "x86-64-v2",
    "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", opencl.TARGET,
)  # fmt: skip
WORDS = 100_000  # from this seed on most codes have 16 bits
NARROW = 200_000  # from this one on weights have 4
# Convolutions of one row and residuals; an image that a dense layer and a padded convolution read;
# convolutions, depthwise ones, a sum, a product and a mean of 16 bits; convolutions, a residual and
# a dense layer whose weights have four.
SEEDS = (214, 415, WORDS + 7, WORDS + 12, NARROW + 19)
MANY = int(os.environ.get("EDGEKILN_FUZZ_CASES", "60"))

Array = NDArray[Any]


class Drawn:
    """A network, what it is given, and what the program for x86 makes of that."""

    def __init__(self, seed: int, home: Path) -> None:
        self.words = WORDS <= seed < NARROW
        net = RandomNet(seed, words=self.words, narrow=seed >= NARROW)
        self.model, self.home = net.save(home / "net.onnx"), home
        self.compact = bool(seed % 2)
        self.library = self.build(REFERENCE)
        self.runner = AotRunner.open(self.library)
        spec = self.runner.spec
        # Our own functions of floats have one arithmetic everywhere, Relax's call a C library.
        self.exact = all(layer.op != "fallback" for layer in spec.layers)
        if self.words:  # what bytes round away of floats' last places, these may show
            self.exact &= all(layer.integer for layer in spec.layers)
        batch = spec.inputs[0].shape[0]
        self.batches = batches_for(spec, self.model, data="", seed=seed, samples=3 * batch)
        self.outputs = [self.runner.run(*self.given(each)) for each in self.batches]

    def given(self, batch: Mapping[str, Array]) -> list[Array]:
        return [batch[each.name] for each in self.runner.inputs]

    def build(self, name: str) -> Path:
        out, target = self.home / f"{name}.lib", profile.load(name)
        context = StageContext(
            target=target, scratch=self.home, objects=self.home.parent / "objects"
        )
        CompileStage(compact=self.compact).run(artifacts.of(self.model), out, context)
        return out

    def outputs_on(self, name: str) -> list[list[Array]]:
        """Those of each batch, as the model has them. Raises UnsupportedError."""
        library = self.build(name)
        spec, files = bundle.read_program(library)
        if not profile.load(name).board and not profile.load(name).qemu_cpu:
            runner = AotRunner.open(library)
            return [runner.run(*self.given(each)) for each in self.batches]
        executable = files[bundle.IMAGE if spec.footprint else bundle.RUNNER]
        # A microcontroller's program takes and gives codes.
        inputs = [
            np.concatenate([_codes(each[tensor.name], tensor) for each in self.batches])
            for tensor in spec.inputs
        ]
        found = predict(spec, executable, inputs)
        parts = [np.split(each, len(self.batches)) for each in found]
        return [
            [_floats(array, tensor) for array, tensor in zip(arrays, spec.outputs, strict=True)]
            for arrays in zip(*parts, strict=True)
        ]


def _codes(array: Array, spec: TensorSpec) -> Array:
    coded = spec.scale is None or array.dtype == np.dtype(spec.dtype)
    return array if coded else quantize(array, spec)


def _floats(array: Array, spec: TensorSpec) -> Array:
    if spec.scale is None or spec.zero_point is None:
        return array
    return (array.astype(np.int32) - spec.zero_point).astype(np.float32) * np.float32(spec.scale)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Drawn]:
    """The network of a seed, drawn and compiled for x86 once."""
    require_features(profile.load(REFERENCE))
    home = tmp_path_factory.mktemp("random")

    @cache
    def draw(seed: int) -> Drawn:
        (own := home / str(seed)).mkdir()
        return Drawn(seed, own)

    return draw


def require(name: str) -> None:
    if name == opencl.TARGET:
        opencl.require()
    elif profile.load(name).toolchain.cc != "gcc":
        emulated.require(profile.load(name))


def check(net: Drawn, name: str) -> None:
    """Equal bits. Where a C library's functions decide, a code may become its neighbour, and what
    is made of that something else: in a few values.
    """
    for found, expected in zip(net.outputs_on(name), net.outputs, strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            if net.exact:
                np.testing.assert_array_equal(ours, theirs)
            else:
                assert np.mean(ours != theirs) < 0.25


@pytest.mark.parametrize("seed", SEEDS)
def test_each_layer_of_a_random_network_is_onnx_runtimes(
    seed: int, drawn: Callable[[int], Drawn]
) -> None:
    net = drawn(seed)
    assert net.exact
    verify(net.library, net.model, net.batches).check()


@pytest.mark.parametrize("name", TARGETS)
def test_random_networks_give_the_same_bits_on_every_processor(
    name: str, drawn: Callable[[int], Drawn]
) -> None:
    require(name)
    for seed in SEEDS:
        check(drawn(seed), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_so_do_many_networks(name: str, drawn: Callable[[int], Drawn]) -> None:
    require(name)
    compiled = 0
    few = MANY // 3
    seeds = [*range(1000, 1000 + MANY), *(n + i for n in (WORDS, NARROW) for i in range(few))]
    for seed in seeds:
        net = drawn(seed)
        verify(net.library, net.model, net.batches).check()
        try:
            check(net, name)
            compiled += 1
        except UnsupportedError:  # of operators without a kernel for GPUs
            if name != opencl.TARGET:
                raise
    assert compiled > MANY // 3
