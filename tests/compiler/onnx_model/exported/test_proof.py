"""What ONNX says otherwise than PyTorch is no model, whatever the sample was."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekiln.compiler.onnx_model import door, torch_exporter
from edgekiln.runtime.errors import InputError, MismatchError, UnsupportedError
from tests.compiler.onnx_model.exported.programs import SmallNet, image, members, saved, write

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Change what the exporter writes."""
    traced = torch_exporter.traced

    def spoil(change: Change) -> None:
        def wrong(*arguments: object, **options: object) -> onnx.ModelProto:
            model = traced(*arguments, **options)  # type: ignore[arg-type]
            change(model)
            return model

        monkeypatch.setattr(torch_exporter, "traced", wrong)

    return spoil


def _node(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    (found,) = (node for node in model.graph.node if node.op_type == op_type)
    return found


def test_another_operator_is_found(tmp_path: Path, spoiled: Callable[[Change], None]) -> None:
    spoiled(lambda model: setattr(_node(model, "Relu"), "op_type", "Sigmoid"))
    with pytest.raises(MismatchError, match="differs from PyTorch"):
        door.enter(saved(SmallNet(), tmp_path / "net.pt2"))


def test_it_is_found_when_the_sample_is_zeros(
    tmp_path: Path, spoiled: Callable[[Change], None]
) -> None:
    path = saved(nn.ReLU(), tmp_path / "net.pt2", torch.zeros(2, 3))
    spoiled(lambda model: setattr(_node(model, "Relu"), "op_type", "Tanh"))
    with pytest.raises(MismatchError, match="differs from PyTorch"):
        door.enter(path)


class _TwoAxes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu().transpose(0, 1)


def test_another_shape_is_found_when_all_numbers_are_right(
    tmp_path: Path, spoiled: Callable[[Change], None]
) -> None:
    path = saved(_TwoAxes(), tmp_path / "net.pt2", torch.ones(2, 3))

    def leave(model: onnx.ModelProto) -> None:
        _node(model, "Transpose").ClearField("attribute")
        _node(model, "Transpose").op_type = "Identity"
        del model.graph.value_info[:]
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3

    spoiled(leave)
    with pytest.raises(MismatchError, match=r"gives float32\[2, 3\], PyTorch float32\[3, 2\]"):
        door.enter(path)


def test_the_samples_size_in_place_of_an_open_one_is_found(
    tmp_path: Path, spoiled: Callable[[Change], None]
) -> None:
    open_batch = ({0: torch.export.Dim("batch", min=1)},)
    path = saved(nn.ReLU(), tmp_path / "net.pt2", torch.ones(2, 3), dynamic_shapes=open_batch)

    def fix(model: onnx.ModelProto) -> None:
        node = _node(model, "Relu")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 1), "f4"), "one"))
        node.op_type = "Mul"
        node.input.append("one")

    spoiled(fix)
    with pytest.raises((MismatchError, UnsupportedError)):
        door.enter(path)


class _Largest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.topk(x, 3).indices


def test_no_equal_numbers_are_drawn_of_which_either_is_the_largest(tmp_path: Path) -> None:
    sample = torch.arange(192.0).reshape(16, 12).sin()
    entered = door.enter(saved(_Largest(), tmp_path / "net.pt2", sample))
    assert "TopK" in [node.op_type for node in entered.model.graph.node]


def _with_sample(path: Path, sample: object) -> Path:
    """The file with another sample, as a forger writes it."""
    stream = io.BytesIO()
    torch.save((sample, {}), stream)
    content = {**members(path), "data/sample_inputs/model.pt": stream.getvalue()}
    return write(path.with_name("forged.pt2"), content)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((torch.ones(3),), "cannot run it on its own sample"),
        ((None,), "its sample has no tensor 'x'"),
        ((2.0,), "its sample has no tensor 'x'"),
        ((torch.ones(1, 3, 8, 8, dtype=torch.complex64),), "cannot run it on its own sample"),
    ],
    ids=["another size", "nothing", "a number", "complex"],
)
def test_a_sample_that_is_not_the_programs_is_no_crash(
    tmp_path: Path, sample: object, message: str
) -> None:
    open_batch = ({0: torch.export.Dim("batch", min=1)},)
    path = saved(SmallNet(), tmp_path / "net.pt2", image(2), dynamic_shapes=open_batch)
    with pytest.raises(InputError, match=message):
        door.enter(_with_sample(path, sample))


def test_a_sparse_sample_is_none(tmp_path: Path) -> None:
    path = saved(nn.ReLU(), tmp_path / "net.pt2", torch.ones(2, 3))
    found = door.enter(_with_sample(path, (torch.ones(2, 3).to_sparse(),)))
    assert "nothing was compared" in found.notes[-1]
