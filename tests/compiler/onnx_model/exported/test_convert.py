"""An exported program computes as ONNX what it computes in PyTorch, or is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.compiler.onnx_model import door, extents
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import InputError, UnsupportedError
from tests.compiler.onnx_model.exported.programs import (
    PROGRAM,
    Document,
    SmallNet,
    altered,
    image,
    members,
    saved,
    write,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _as_onnx(path: Path, *inputs: torch.Tensor) -> "list[NDArray[np.generic]]":
    model = door.enter(path).model
    names = [value.name for value in extents.model_inputs(model)]
    given = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
    return Session(model, optimize=False)(given)


def test_a_float_program_computes_the_same(tmp_path: Path) -> None:
    net = SmallNet()
    path = saved(net, tmp_path / "net.pt2")
    (got,) = _as_onnx(path, image())
    np.testing.assert_allclose(got, net(image()).detach().numpy(), atol=1e-5)


def test_an_open_batch_stays_open(tmp_path: Path) -> None:
    net = SmallNet()
    open_batch = ({0: torch.export.Dim("batch", min=1)},)
    path = saved(net, tmp_path / "net.pt2", image(2), dynamic_shapes=open_batch)
    (got,) = _as_onnx(path, image(5))
    np.testing.assert_allclose(got, net(image(5)).detach().numpy(), atol=1e-5)


def test_nodes_are_called_after_the_modules_that_they_came_from(tmp_path: Path) -> None:
    model = door.enter(saved(SmallNet(), tmp_path / "net.pt2")).model
    assert {"conv", "head"} <= {node.name for node in model.graph.node}


class _DictOfTwo(nn.Module):
    """Several inputs, of which one is a keyword, and outputs by name."""

    def forward(self, tokens: torch.Tensor, *, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        found = tokens.float() * mask
        return {"sum": found.sum(-1), "most": found.amax(-1)}


def test_inputs_by_keyword_and_outputs_by_name(tmp_path: Path) -> None:
    tokens = torch.arange(6).reshape(1, 6)
    mask = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0, 1.0]])
    program = torch.export.export(_DictOfTwo(), (tokens,), {"mask": mask})
    torch.export.save(program, tmp_path / "net.pt2")
    total, most = _as_onnx(tmp_path / "net.pt2", tokens, mask)
    assert (total.item(), most.item()) == (10.0, 5.0)


class _GivesWhatItTakes(nn.Module):
    """Inputs among the outputs, outputs twice, and None."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        total = x + y
        return x, total, None, total, y


def test_inputs_that_are_outputs_and_outputs_given_twice(tmp_path: Path) -> None:
    x, y = torch.arange(3.0), torch.ones(3)
    path = saved(_GivesWhatItTakes(), tmp_path / "net.pt2", x, y)
    assert [value.name for value in extents.model_inputs(door.enter(path).model)] == ["x", "y"]
    found = _as_onnx(path, x + 5, y)
    expected = [x + 5, x + 6, x + 6, y]
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted.numpy())


class _Optional(nn.Module):
    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, times: float = 1.0
    ) -> torch.Tensor:
        return x * times if mask is None else x * mask


def test_arguments_that_are_no_tensors_are_constants_and_still_compared(tmp_path: Path) -> None:
    program = torch.export.export(_Optional(), (torch.ones(3), None, 2.5))
    torch.export.save(program, tmp_path / "net.pt2")
    assert door.enter(tmp_path / "net.pt2").notes == (
        "an exported program of PyTorch, written as ONNX",
    )
    (got,) = _as_onnx(tmp_path / "net.pt2", torch.full((3,), 2.0))
    np.testing.assert_array_equal(got, np.full(3, 5, np.float32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_are_compared_as_whole_ones(tmp_path: Path, dtype: torch.dtype) -> None:
    """Twenty layers in bfloat16 are a fifth apart from the same in float32."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.LayerNorm(16)) for _ in range(20)]
    net = nn.Sequential(nn.Linear(6, 16), *layers).to(dtype)
    path = saved(net, tmp_path / "net.pt2", torch.randn(2, 6).to(dtype))
    x = torch.randn(2, 6)
    (got,) = _as_onnx(path, x)
    np.testing.assert_allclose(got, net.float()(x).detach().numpy(), atol=1e-4)


class _MasksByInfinity(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x).masked_fill(x > 2, float("inf"))


def test_infinities_and_nan_in_a_sample_are_numbers_like_others(tmp_path: Path) -> None:
    x = torch.tensor([-1.0, 0.0, 1.0, 3.0])
    (got,) = _as_onnx(saved(_MasksByInfinity(), tmp_path / "net.pt2", x), x)
    np.testing.assert_array_equal(got, np.array([np.nan, -np.inf, 0, np.inf], np.float32))


class _Gives(nn.Module):
    """What a function makes of the input."""

    def __init__(self, function: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> object:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + torch.rand_like(x), "draws random numbers"),
        (lambda x: torch.multinomial(x.softmax(-1), 1), "draws random numbers"),
        (lambda x: (x, 5), "gives 5, which is no tensor"),
        (lambda x: torch.complex(x, x), "is complex"),
    ],
    ids=["noise", "draws", "number", "complex"],
)
def test_what_a_program_cannot_give_is_refused_by_name(
    tmp_path: Path, function: Callable[[torch.Tensor], object], message: str
) -> None:
    path = saved(_Gives(function), tmp_path / "net.pt2", torch.ones(2, 50))
    with pytest.raises(UnsupportedError, match=message):
        door.enter(path)


class _Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(20, 4, mode="mean")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.bag(x)
        return found


def test_what_the_exporter_writes_wrongly_is_no_model(tmp_path: Path) -> None:
    """It writes a loop that reads what is not there."""
    path = saved(_Bags(), tmp_path / "net.pt2", torch.ones(2, 5, dtype=torch.int64))
    with pytest.raises(UnsupportedError, match="makes no valid ONNX of it"):
        door.enter(path)


def test_an_input_that_nothing_reads_is_told(tmp_path: Path) -> None:
    """One tensor for two arguments is one input to PyTorch."""
    x = torch.ones(3)
    path = saved(_Optional(), tmp_path / "net.pt2", x, x)
    assert any("nothing reads x" in note for note in door.enter(path).notes)


class _Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls: torch.Tensor
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return x + self.calls


def test_a_program_that_changes_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="changes 'calls' in each call"):
        door.enter(saved(_Counts(), tmp_path / "net.pt2", torch.zeros(3)))


def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    program = torch.export.export(net, (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(UnsupportedError, match="training mode"):
        door.enter(tmp_path / "net.pt2")


def test_operands_that_do_not_fit_are_no_crash(tmp_path: Path) -> None:
    """A forged file's: the image is smaller than the kernel."""

    def shrink(document: Document) -> None:
        values = document["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"] = [{"as_int": size} for size in (1, 5, 0, 8)]

    with pytest.raises(InputError, match="makes no sense to PyTorch"):
        door.enter(altered(saved(SmallNet(), tmp_path / "net.pt2"), PROGRAM, shrink))


def test_two_programs_in_one_file_are_refused(tmp_path: Path) -> None:
    content = members(saved(SmallNet(), tmp_path / "net.pt2"))
    content["models/other.json"] = content["models/model.json"]
    with pytest.raises(UnsupportedError, match="holds 2 programs"):
        door.enter(write(tmp_path / "two.pt2", content))


def test_a_program_of_another_version_is_told_apart_from_damage(tmp_path: Path) -> None:
    content = members(saved(SmallNet(), tmp_path / "net.pt2"))
    text = content["models/model.json"].decode().replace('"major": 8', '"major": 99')
    with pytest.raises(InputError, match=f"PyTorch {torch.__version__.split('+')[0]}"):
        door.enter(write(tmp_path / "new.pt2", {**content, "models/model.json": text.encode()}))
