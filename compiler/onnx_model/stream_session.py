"""ONNX Runtime on a model that remembers: whole streams, the states fed forward by hand."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import model_inputs, states
from edgekiln.compiler.onnx_model.model_inputs import Inputs
from edgekiln.compiler.onnx_model.session import Session

if TYPE_CHECKING:
    import onnx


class StreamSession:
    """One model, loaded; a call is a stream from its beginning.

    It is given (T, …) for T steps of each input, and gives (T, …) of each output; where the model
    has a batch, the first axis of both is that of all steps' samples in turn, (T·B, …).
    """

    def __init__(self, model: "onnx.ModelProto", *, optimize: bool) -> None:
        """Load it as `Session` does."""
        self._session = Session(model, optimize=optimize)
        self._takes = model_inputs.of_model(model)
        self._zeros = {s.input: states.zero_code(model, s.input) for s in self._takes.states}
        self._becomes = {state.input: state.output for state in self._takes.states}
        kept = set(self._becomes.values())
        self.inputs = tuple(n for n in self._session.inputs if n not in self._becomes)
        self.outputs = tuple(name for name in self._session.outputs if name not in kept)

    def __call__(
        self, given: Inputs, outputs: Sequence[str] | None = None
    ) -> list[NDArray[np.generic]]:
        """Run a stream; `outputs` picks some of the model's by name, states included. The name of a
        state's input gives what each step was given.

        Raises:
            UnsupportedError: the model cannot compute this.
        """
        wanted = self.outputs if outputs is None else outputs
        steps = list(self.steps(given, wanted))
        return [self._joined(np.stack([step[name] for step in steps]), given) for name in wanted]

    def steps(
        self, given: Inputs, wanted: Sequence[str]
    ) -> Iterator[dict[str, NDArray[np.generic]]]:
        """The tensors of these names in each step of a stream; errors as of a call."""
        # States are computed in each step, wanted or not, for the next step takes them.
        made = list(
            dict.fromkeys([*(n for n in wanted if n not in self._becomes), *self._becomes.values()])
        )
        remembered = self._initial(given)
        for step in range(len(next(iter(given.values())))):
            feeds = {name: array[step] for name, array in given.items()} | remembered
            results = feeds | dict(zip(made, self._session(feeds, made), strict=True))
            yield {name: results[name] for name in wanted}
            remembered = {name: results[after] for name, after in self._becomes.items()}

    def _initial(self, given: Inputs) -> dict[str, NDArray[np.generic]]:
        # Of (T, B, …).
        batch = next(iter(given.values())).shape[1] if self._takes.batched else 1
        return {
            state.input: np.full(
                tuple(extent or batch for extent in state.shape),
                self._zeros[state.input],
                state.dtype,
            )
            for state in self._takes.states
        }

    def _joined(self, steps: NDArray[np.generic], given: Inputs) -> NDArray[np.generic]:
        """(T, B, …) as (T·B, …)."""
        first = next(iter(given.values()))
        # A result without the batch's axis, such as one number a step, stays (T, …).
        if self._takes.batched and steps.shape[:2] == first.shape[:2]:
            return steps.reshape(-1, *steps.shape[2:])
        return steps


def step_calls(
    model: "onnx.ModelProto", calls: Sequence[Inputs], *, optimize: bool
) -> list[Inputs]:
    """The calls that streams consist of, with what the model is given of the step before; of a
    model that remembers nothing, its calls as they are.
    """
    remembered = [state.input for state in model_inputs.of_model(model).states]
    if not remembered:
        return list(calls)
    session = StreamSession(model, optimize=optimize)
    return [
        {name: array[number] for name, array in stream.items()} | step
        for stream in calls
        for number, step in enumerate(session.steps(stream, remembered))
    ]


def open_session(model: "onnx.ModelProto", *, optimize: bool) -> Session | StreamSession:
    """A session of calls, or, for a model that remembers, of streams."""
    kind = StreamSession if model_inputs.of_model(model).states else Session
    return kind(model, optimize=optimize)
