"""An exported program computes as ONNX what it computes in PyTorch, or is refused."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.compiler.onnx_model import door, extents, torch_exporter
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import InputError, MismatchError, UnsupportedError
from tests.compiler.onnx_model.exported.programs import SmallNet, image, members, saved, write

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


def test_what_onnx_says_otherwise_than_pytorch_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(SmallNet(), tmp_path / "net.pt2")
    traced = torch_exporter.traced

    def wrong(*arguments: object, **options: object) -> object:
        model = traced(*arguments, **options)  # type: ignore[arg-type]
        (node,) = (node for node in model.graph.node if node.op_type == "Relu")
        node.op_type = "Sigmoid"
        return model

    monkeypatch.setattr(torch_exporter, "traced", wrong)
    with pytest.raises(MismatchError, match="differs from PyTorch"):
        door.enter(path)


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
