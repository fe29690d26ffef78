"""Nothing that stands in an exported program's file is run, imported or evaluated."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgekiln.compiler.onnx_model import door
from edgekiln.runtime.errors import EdgeKilnError, InputError, UnsupportedError
from tests.compiler.onnx_model.exported.programs import (
    PROGRAM,
    WEIGHTS,
    Document,
    SmallNet,
    altered,
    image,
    members,
    pickle_that_writes,
    saved,
    write,
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    open_batch = ({0: torch.export.Dim("batch", min=1)},)
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    return saved(SmallNet(), path, image(2), dynamic_shapes=open_batch)


def test_a_pickled_sample_is_not_run(program: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    hostile = {**members(program), "data/sample_inputs/model.pt": pickle_that_writes(made)}
    notes = door.enter(write(tmp_path / "hostile.pt2", hostile)).notes
    assert not made.exists()
    assert "it has no sample input of plain tensors, so nothing was compared" in notes


@pytest.mark.parametrize("name", ["weights", "constants"])
def test_a_pickled_tensor_is_refused(program: Path, tmp_path: Path, name: str) -> None:
    made = tmp_path / "made"
    entry = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}
    content = members(program)
    content[f"data/{name}/weight_0"] = pickle_that_writes(made)
    config = f"data/{name}/model_{name}_config.json"
    document = json.loads(content[config])
    document["config"]["conv.weight"] = entry
    content[config] = json.dumps(document).encode()
    with pytest.raises(UnsupportedError, match=r"'conv\.weight' is a Python object"):
        door.enter(write(tmp_path / "hostile.pt2", content))
    assert not made.exists()


@pytest.mark.parametrize("name", ["data/weights/model.pt", "data/constants/model.pt"])
def test_weights_of_the_old_form_are_not_unpickled(
    program: Path, tmp_path: Path, name: str
) -> None:
    made = tmp_path / "made"
    hostile = {**members(program), name: pickle_that_writes(made)}
    door.enter(write(tmp_path / "hostile.pt2", hostile))
    assert not made.exists()


def _size(text: str) -> Callable[[Document], object]:
    def change(document: Document) -> object:
        values = document["graph_module"]["graph"]["tensor_values"].values()
        value = next(each for each in values if each["sizes"] and "as_expr" in each["sizes"][0])
        value["sizes"][0]["as_expr"]["expr_str"] = text
        return document

    return change


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch made')",
        "exit()",
        "breakpoint()",
        "Integer(9)**Integer(9)**Integer(9)",
        "Pow(Integer(9), Pow(Integer(9), Integer(9)))",
        "Symbol('s77').func",
        "9" * 30,
        "(" * 2000,
    ],
)
def test_a_size_is_arithmetic_and_nothing_else(program: Path, text: str) -> None:
    with pytest.raises(InputError, match="is no size"):
        door.enter(altered(program, PROGRAM, _size(text)))


@pytest.mark.parametrize(
    "target",
    [
        "torch.load",
        "torch.hub.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.higher_order.cond",
        "torch.ops.aten.__class__.mro",
        "torch.ops.load_library",
        "math.factorial",
        "_operator.attrgetter",
        "#namespace:op",
        "os.system",
    ],
)
def test_only_operators_of_pytorch_are_let_in(program: Path, target: str) -> None:
    def change(document: Document) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(UnsupportedError, match="no plain operator of PyTorch"):
        door.enter(altered(program, PROGRAM, change))


def test_modules_that_a_file_names_are_not_imported(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_by_a_model.py").write_text("open('imported', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    context = {
        "default_factory_module": "imported_by_a_model",
        "default_factory_name": "x",
        "dict_context": [],
    }
    spec = {
        "type": "collections.defaultdict",
        "context": json.dumps(context),
        "children_spec": [],
    }

    def change(document: Document) -> None:
        call = document["graph_module"]["module_call_graph"][0]["signature"]
        call["in_spec"] = call["out_spec"] = json.dumps([1, spec])
        document["guards_code"] = ["__import__('imported_by_a_model')"]

    door.enter(altered(program, PROGRAM, change))
    assert not Path("imported").exists()


def test_a_tensor_of_terabytes_is_refused_before_it_is_made(program: Path) -> None:
    def change(document: Document) -> None:
        meta = document["config"]["conv.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": 1 << 40}]
        meta["strides"] = [{"as_int": 0}]

    with pytest.raises(UnsupportedError, match="more than"):
        door.enter(altered(program, WEIGHTS, change))


def test_compressed_archives_are_refused(program: Path, tmp_path: Path) -> None:
    packed = write(tmp_path / "packed.pt2", members(program), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"not a file of torch\.export\.save"):
        door.enter(packed)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x02}q\x00.", b"\x08\x07" * 50])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"not a file of torch\.export\.save"):
        door.enter(path)


def test_a_checkpoint_of_another_name_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "net.pt2")
    with pytest.raises(InputError, match=r"not a file of torch\.export\.save"):
        door.enter(tmp_path / "net.pt2")


def test_every_byte_of_a_file_may_be_damaged(program: Path, tmp_path: Path) -> None:
    """Either it is read, or refused by an error of ours: never a traceback."""
    import random

    dice = random.Random(11)
    content = members(program)
    refused = 0
    for number in range(12):
        name = dice.choice([PROGRAM, WEIGHTS])
        damaged = bytearray(content[name])
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(len(damaged))] = dice.choice(b'0"{}[]:,anx9')
        path = write(tmp_path / f"{number}.pt2", {**content, name: bytes(damaged)})
        try:
            door.enter(path)
        except EdgeKilnError:
            refused += 1
    assert refused > 2
