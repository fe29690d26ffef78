"""Anything of a chain that predicts: a module, an ONNX model, a compiled program."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.evaluation.report import Costs
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.errors import BundleError, InputError, UnsupportedError

if TYPE_CHECKING:
    from edgekiln.runtime.manifest import ProgramSpec

_BATCH = 64
# Under QEMU a program does 0.05 to 0.1 GMAC/s: this is a minute at most.
_EMULATED_MACS = 3_000_000_000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Anything that predicts, with what the report says about it."""

    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    batch: int  # samples a call at most
    shape: tuple[int, ...]  # of the input, without the batch
    meta: Meta
    costs: Costs
    samples_in_time: int = 0  # how many are worth waiting for; 0: all there are


def open_subject(artifact: Artifact, allow: Collection[str] = ()) -> Subject:
    """Open an artifact of any kind. `allow` is as in `edgekiln.models.artifact.load_module`.

    Raises:
        InputError, UnsupportedError: as the readers do.
    """
    match artifact.kind:
        case "module":
            return _module(artifact.path, allow)
        case "onnx" | "onnx-int8":
            return _onnx(artifact)
        case "lib":
            return _program(artifact.path)
        case _:
            raise InputError(
                f"{artifact.path}: is a {artifact.kind}, which predicts nothing",
                hint="give a module, an ONNX model or a compiled program",
            )


def _module(path: Path, allow: Collection[str]) -> Subject:
    import torch

    from edgekiln.models.artifact import load_module
    from edgekiln.models.cost import count

    module, about = load_module(path, allow)
    costs = count(module, torch.zeros(1, *about.input_shape))

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            y: NDArray[np.float32] = module(torch.from_numpy(x)).numpy()
        return y

    return Subject(
        predict=predict,
        batch=_BATCH,
        shape=about.input_shape,
        meta=Meta(
            preprocessing=about.preprocessing,
            labels=about.classes,
            data=about.data,
            task=about.task,
        ),
        costs=Costs(parameters=costs.parameters, macs=costs.macs, file_bytes=path.stat().st_size),
    )


def _onnx(artifact: Artifact) -> Subject:
    """Float models run with all of ONNX Runtime's optimisation, int8 ones as they are written."""
    from edgekiln.compiler.onnx_model.cost import onnx_costs
    from edgekiln.compiler.onnx_model.session import Session

    model = artifact.read(io.load_model)
    shape = io.static_shape(model)
    session = Session(model, optimize=not io.is_quantized(model))
    fixed = io.fixed_batch(model)
    costs = onnx_costs(model)
    return Subject(
        predict=_padded(lambda x: session(x)[0], fixed),
        batch=fixed or _BATCH,
        shape=shape,
        meta=io.read_meta(model),
        costs=Costs(
            parameters=costs.parameters,
            macs=costs.macs,
            file_bytes=artifact.path.stat().st_size,
        ),
    )


def _program(path: Path) -> Subject:
    """A compiled program, in this process or under QEMU. `file_bytes` is its code and weights."""
    from edgekiln.runtime.bundle import read_program
    from edgekiln.runtime.inputs import quantize

    spec, files = read_program(path)
    if len(spec.inputs) != 1:
        raise UnsupportedError(f"a model needs exactly one input, this has {len(spec.inputs)}")
    (given,), result = spec.inputs, spec.outputs[0]
    batch = given.shape[0]
    macs = sum(layer.macs for layer in spec.layers) // batch
    run, emulated = _executor(spec, files)

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = run(quantize(x, given))[0].astype(np.float32)
        if result.scale is not None:
            y = (y - np.float32(result.zero_point or 0)) * np.float32(result.scale)
        return y

    # Whole calls only, and in one start of the emulator as many as the others take at once.
    at_once = batch * max(1, _BATCH // batch) if emulated else batch
    return Subject(
        predict=_padded(predict, at_once),
        batch=at_once,
        shape=given.shape[1:],
        meta=Meta(preprocessing=given.preprocessing, labels=result.labels),
        costs=Costs(parameters=None, macs=macs, file_bytes=spec.code_bytes + spec.weights_bytes),
        samples_in_time=max(1, _EMULATED_MACS // max(macs, 1)) if emulated else 0,
    )


def _executor(
    spec: "ProgramSpec", files: Mapping[str, bytes]
) -> tuple[Callable[[NDArray[np.generic]], "list[NDArray[np.generic]]"], bool]:
    """What runs the program, and whether that is QEMU."""
    from edgekiln.compiler.devices.emulated import predict
    from edgekiln.runtime.bundle import LIBRARY, executable_name
    from edgekiln.runtime.runner import AotRunner, check_machine

    try:
        check_machine(spec, spec.name)
    except BundleError:
        program = files[executable_name(files, spec.name)]
        return lambda x: predict(spec, program, (x,)), True
    return AotRunner(spec, files[LIBRARY], spec.name).run, False


def _padded(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], fixed: int | None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Let a model of one fixed batch take any number: a shorter last batch repeats its last
    sample.
    """
    if fixed is None or fixed == 1:
        return predict

    def fill(x: NDArray[np.float32]) -> NDArray[np.float32]:
        missing = fixed - len(x)
        return predict(np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]))[: len(x)]

    return fill
