"""Anything of a chain that predicts: a module, an ONNX model, a compiled program."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.evaluation.report import Costs
from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.onnx_model.model_inputs import Inputs, ModelInputs
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.errors import BundleError, InputError

if TYPE_CHECKING:
    from edgekiln.runtime.manifest import ProgramSpec

_BATCH = 64
# Under QEMU a program does 0.05 to 0.1 GMAC/s: this is a minute at most.
_EMULATED_MACS = 3_000_000_000
_EMULATED_STARTS = 16


# The inputs of a call → its outputs, in the model's order.
Predict = Callable[[Inputs], "list[NDArray[np.generic]]"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Anything that predicts, with what the report says about it."""

    predict: Predict
    batch: int  # samples a call at most
    takes: ModelInputs
    gives: tuple[str, ...]  # the outputs' names, in the order in which `predict` gives them
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
            return program_subject(*read_program(artifact.path))
        case _:
            raise InputError(
                f"{artifact.path}: is a {artifact.kind}, which predicts nothing",
                hint="give a module, an ONNX model or a compiled program",
            )


def _module(path: Path, allow: Collection[str]) -> Subject:
    import torch

    from edgekiln.models.artifact import load_module
    from edgekiln.models.cost import count
    from edgekiln.models.module_ends import named_outputs

    module, about = load_module(path, allow)
    takes = model_inputs.of_module(about)
    zeros = [np.zeros((1, *each.shape), each.dtype) for each in takes.inputs]
    costs = count(module, *map(torch.from_numpy, zeros))

    def predict(given: Inputs) -> list[NDArray[np.generic]]:
        tensors = (torch.from_numpy(given[each.name]) for each in takes.inputs)
        with torch.no_grad():
            outputs = named_outputs(module(*tensors), about.factory)
        return [tensor.numpy() for tensor in outputs.values()]

    return Subject(
        predict=predict,
        batch=_BATCH,
        takes=takes,
        gives=about.outputs,
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
    from edgekiln.compiler.onnx_model.stream_session import open_session

    model = artifact.read(io.load_model)
    takes = model_inputs.of_model(model)
    session = open_session(model, optimize=not io.is_quantized(model))
    costs = onnx_costs(model)
    return Subject(
        predict=_padded(session, takes, takes.batch),
        batch=takes.at_once(_BATCH),
        takes=takes,
        gives=tuple(value.name for value in model.graph.output),
        meta=io.read_meta(model),
        costs=Costs(
            parameters=costs.parameters,
            macs=costs.macs,
            file_bytes=artifact.path.stat().st_size,
        ),
    )


def program_subject(whole: "ProgramSpec", files: Mapping[str, bytes], point: int = 0) -> Subject:
    """A compiled program at an operating point, in this process or under QEMU. `file_bytes` is the
    code and weights of all points.
    """
    from edgekiln.runtime.inputs import coded
    from edgekiln.runtime.points import at_point
    from edgekiln.runtime.program import dequantized

    spec = at_point(whole, point)
    takes = model_inputs.of_program(spec)
    assert takes.batch is not None, spec.name  # programs are compiled for one
    macs = sum(layer.macs for layer in spec.layers) // takes.batch
    run, emulated = _executor(whole, files, point)

    def predict(given: Inputs) -> list[NDArray[np.generic]]:
        outputs = run([coded(given[tensor.name], tensor) for tensor in spec.inputs])
        return [dequantized(y, of) for y, of in zip(outputs, spec.outputs, strict=True)]

    # A model without a batch starts the emulator for each sample.
    most = _EMULATED_MACS if takes.batched else _EMULATED_STARTS
    # In one start of the emulator as many calls as the others take samples at once.
    several = emulated and not takes.states
    at_once = takes.batch * max(1, _BATCH // takes.batch) if several else takes.batch
    return Subject(
        predict=_padded(predict, takes, takes.batch, several=several),
        batch=at_once if takes.batched else 1,
        takes=takes,
        gives=tuple(tensor.name for tensor in spec.outputs),
        meta=Meta(preprocessing=spec.inputs[0].preprocessing, labels=spec.outputs[0].labels),
        costs=Costs(parameters=None, macs=macs, file_bytes=spec.code_bytes + spec.weights_bytes),
        samples_in_time=min(most, max(1, _EMULATED_MACS // max(macs, 1))) if emulated else 0,
    )


def _executor(
    spec: "ProgramSpec", files: Mapping[str, bytes], point: int
) -> tuple[Callable[[Sequence[NDArray[np.generic]]], "list[NDArray[np.generic]]"], bool]:
    """What runs the program, and whether that is QEMU."""
    from edgekiln.compiler.devices.emulated import predict
    from edgekiln.runtime.bundle import LIBRARY, executable_name
    from edgekiln.runtime.runner import AotRunner, check_machine
    from edgekiln.runtime.streams import run_steps

    try:
        check_machine(spec, spec.name)
    except BundleError:
        program = files[executable_name(files, spec.name)]
        return lambda arrays: predict(spec, program, tuple(arrays), point), True
    runner = AotRunner(spec, files[LIBRARY], spec.name)
    runner.set_point(point)
    if not spec.states:
        return lambda arrays: runner.run(*arrays), False

    def stream(arrays: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        runner.reset()
        return run_steps(runner, arrays)

    return stream, False


def _padded(
    predict: Predict, takes: ModelInputs, fixed: int | None, *, several: bool = False
) -> Predict:
    """Let a model of one fixed batch take any number: a shorter last batch repeats its last
    sample.

    Args:
        several: whether it takes several batches at once.
    """
    alone = fixed == 1 and not several
    if fixed is None or alone or not takes.batched or takes.states:
        return predict

    def fill(given: Inputs) -> list[NDArray[np.generic]]:
        count = takes.samples_in(given)
        missing = -count % fixed
        whole = {
            name: np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])
            for name, x in given.items()
        }
        total = count + missing
        outputs = predict(whole)
        return [
            y[:count] if y.ndim and len(y) == total else model_inputs.rows(y, total)[:count]
            for y in outputs
        ]

    return fill
