import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekiln.compiler.onnx_model import extents, io, model_inputs
from edgekiln.compiler.onnx_model.rewrites import batch_norms_after_conv
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.models.artifact import create, load_module
from edgekiln.models.data import load
from edgekiln.runtime.errors import (
    ConfigError,
    InputError,
    MismatchError,
    UnsupportedError,
)
from tests.compiler import artifacts, quantizing

# Modules a user might bring, each with its own difficulty.
FACTORIES = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

class Branching(Plain):
    def forward(self, x):
        y = super().forward(x)
        if y.sum() > 0:
            return y * 2
        return y

class ClassToken(Plain):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 1, 4), 0.5))

    def forward(self, x):
        rows = self.conv(x).flatten(2).transpose(1, 2)
        rows = torch.cat([self.token.expand(len(x), -1, -1), rows], 1)
        return self.head(rows[:, 0] + rows.mean(1))

class Random(Plain):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)

class TwoReaders(Plain):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.head((self.bn(y) + y).mean((2, 3)))

class Heard(nn.Module):
    def __init__(self, features=3072):
        super().__init__()
        self.gru, self.head = nn.GRU(96, 40, batch_first=True), nn.Linear(40, 10)

    def forward(self, x):
        return self.head(self.gru(x.reshape(-1, 32, 96))[0][:, -1])

class Pair(Plain):
    twice = False

    def forward(self, x):
        y = super().forward(x)
        return (y, y + 1) if self.twice else y
"""


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    return module(tmp_path_factory.mktemp("export") / "resnet8.pt", "resnet8")


@pytest.fixture(scope="module")
def exported(resnet) -> tuple[onnx.ModelProto, list[str]]:
    return export(resnet, resnet.with_name("exported.onnx"))


ALLOWED = frozenset(
    f"user_models:{name}"
    for name in ("Plain", "Branching", "ClassToken", "Random", "TwoReaders", "Pair", "Heard")
)


@pytest.fixture
def factories(tmp_path, monkeypatch) -> None:
    (tmp_path / "user_models.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "user_models", raising=False)


def module(path: Path, model: str) -> Path:
    create(path, model, load("digits", 0), "digits", seed=0)
    return path


def export(
    src: Path, dst: Path, stage: ExportStage | None = None
) -> tuple[onnx.ModelProto, list[str]]:
    context = StageContext(scratch=dst.parent, allow=ALLOWED)
    (stage or ExportStage()).run(artifacts.of(src), dst, context)
    return io.load_model(dst), context.notes


def test_the_onnx_model_computes_what_the_module_does(resnet, exported):
    model, _ = exported
    x = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    net, _ = load_module(resnet)
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(Session(model, optimize=True)(x)[0], wanted, atol=1e-5)


def test_the_graph_is_what_the_quantizer_wants(exported):
    model, notes = exported
    operators = {node.op_type for node in model.graph.node}
    assert operators == {"Conv", "Relu", "Add", "GlobalAveragePool", "Reshape", "Gemm"}
    assert batch_norms_after_conv(model) == notes == []
    assert extents.extents(extents.model_inputs(model)[0]) == ("batch", 3, 32, 32)
    assert [entry.version for entry in model.opset_import] == [20]


def test_nodes_are_named_after_the_modules(exported):
    model, _ = exported
    names = [node.name for node in model.graph.node]
    assert names[:6] == [
        "stem.0",
        "stem.2.relu",
        "blocks.0.conv1",
        "blocks.0.relu",
        "blocks.0.conv2",
        "blocks.0.add",
    ]
    assert names[-1] == "head"
    assert len(set(names)) == len(names)


def test_the_model_carries_its_use(exported):
    model, _ = exported
    meta, digits = io.read_meta(model), load("digits", 0)
    assert meta.preprocessing == digits.preprocessing
    assert meta.labels == digits.classes
    assert (meta.data, meta.task) == ("digits", "classification")


def test_metrics_say_how_close_it_is(resnet, tmp_path):
    metrics = ExportStage().run(
        artifacts.of(resnet), tmp_path / "m.onnx", StageContext(scratch=tmp_path)
    )
    assert metrics["argmax_agreement"] == 1.0
    assert 0 <= metrics["max_abs_difference"] < 1e-5
    assert metrics["file_bytes"] == (tmp_path / "m.onnx").stat().st_size


def test_the_same_module_gives_the_same_bytes_without_a_path_of_this_machine(resnet, tmp_path):
    hashes = set()
    for name in ("one", "two"):
        export(resnet, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        hashes.add(hashlib.sha256(content).hexdigest())
        assert str(Path(__file__).parents[3]).encode() not in content
        assert b"site-packages" not in content
        assert b"stack_trace" not in content
    assert len(hashes) == 1


@pytest.mark.usefixtures("factories")
def test_a_branch_on_data_is_named_by_its_line(tmp_path):
    src = module(tmp_path / "m.pt", "user_models:Branching")
    with pytest.raises(UnsupportedError) as caught:
        export(src, tmp_path / "m.onnx")
    assert caught.value.exit_code == 4
    assert caught.value.message == (
        "user_models:Branching: cannot be exported: Could not guard on data-dependent expression "
        "Eq(u0, 1) (user_models.py, line 16: if y.sum() > 0:)"
    )
    assert caught.value.hint == (
        "rewrite that part so that the same operations run for every input"
    )
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.usefixtures("factories")
def test_a_batch_that_becomes_a_number_is_fixed_at_one(tmp_path):
    src = module(tmp_path / "m.pt", "user_models:ClassToken")
    model, notes = export(src, tmp_path / "m.onnx")
    assert model_inputs.of_model(model).batch == 1
    assert notes == ["the batch is fixed at 1: forward() makes a number of it, as len(x)"]


@pytest.mark.usefixtures("factories")
def test_torch_says_nothing(tmp_path, capfd):
    src = module(tmp_path / "m.pt", "user_models:Plain")
    export(src, tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("factories")
def test_a_module_that_answers_differently_each_time_is_a_mismatch(tmp_path):
    src = module(tmp_path / "m.pt", "user_models:Random")
    with pytest.raises(
        MismatchError, match=r"^the exported model differs from PyTorch by 0\.\d+ \(largest output"
    ) as caught:
        export(src, tmp_path / "m.onnx")
    assert caught.value.exit_code == 7


@pytest.mark.usefixtures("factories")
def test_a_second_output_is_refused(tmp_path):
    src = module(tmp_path / "m.pt", "user_models:Pair")
    sys.modules["user_models"].Pair.twice = True
    with pytest.raises(UnsupportedError) as caught:
        export(src, tmp_path / "m.onnx")
    assert caught.value.message == "user_models:Pair: gives 2 tensors, one is needed"


@pytest.mark.usefixtures("factories")
def test_a_batch_norm_that_cannot_be_folded_is_noted(tmp_path):
    src = module(tmp_path / "m.pt", "user_models:TwoReaders")
    _, notes = export(src, tmp_path / "m.onnx")
    assert notes == [
        "batch norm bn.batchnormalization is not folded: its convolution has a second reader"
    ]


@pytest.mark.parametrize("opset", [11, 99])
@pytest.mark.usefixtures("factories")
def test_an_opset_that_torch_would_silently_replace_is_an_error(tmp_path, opset):
    src = module(tmp_path / "m.pt", "user_models:Plain")
    with pytest.raises(ConfigError) as caught:
        export(src, tmp_path / "m.onnx", ExportStage(opset=opset))
    assert caught.value.message == (f"export: opset {opset} was asked for, PyTorch wrote opset 18")
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("factories")
def test_a_newer_opset_is_written(tmp_path):
    src = module(tmp_path / "m.pt", "user_models:Plain")
    model, _ = export(src, tmp_path / "m.onnx", ExportStage(opset=21))
    assert [entry.version for entry in model.opset_import] == [21]


def test_data_of_another_shape_is_refused(resnet, tmp_path):
    np.savez(
        tmp_path / "big.npz",
        x=np.zeros((60, 48, 48, 3), np.uint8),
        y=np.arange(60) % 10,
    )
    with pytest.raises(InputError) as caught:
        export(resnet, tmp_path / "m.onnx", ExportStage(data=str(tmp_path / "big.npz")))
    assert caught.value.message == (
        f"samples of {tmp_path / 'big.npz'} have the shape (3, 48, 48), the model takes (3, 32, 32)"
    )


def test_comparing_on_no_sample_is_refused():
    with pytest.raises(ConfigError, match="export: samples = 0"):
        ExportStage(samples=0)


@pytest.mark.usefixtures("factories")
def test_a_recurrent_layer_fixes_the_batch_and_is_layers_of_codes(tmp_path):
    """Of 40 values: more weights than the exporter folds."""
    src = module(tmp_path / "net.pt", "user_models:Heard")
    model, notes = export(src, tmp_path / "net.onnx")
    assert extents.extents(extents.model_inputs(model)[0])[0] == 1
    assert notes == ["the batch is fixed at 1: the steps of GRU are those of one batch"]
    int8, _, _ = quantizing.quantize(tmp_path / "net.onnx")
    kinds = [node.op_type for node in int8.graph.node]
    assert kinds.count("CodedGru") == 1
    assert not {"GRU", "Sigmoid", "Tanh"} & set(kinds)  # no step is written out
