"""What is no module artifact is refused by what is wrong with it, and nothing in it is run."""

import random
import zipfile

import pytest
import torch
from torch import nn

from edgekiln.models import artifact
from edgekiln.runtime.errors import ConfigError, InputError


def _refusal(path, load=artifact.load_module):
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.hint
    return caught.value.message


def test_a_pickled_module_is_refused_and_not_run(tmp_path):
    path = tmp_path / "whole.pt"
    torch.save(nn.Linear(2, 1), path)
    expected = f"{path}: holds Python objects, not only tensors"
    assert _refusal(path) == expected
    assert _refusal(path, artifact.load_checkpoint) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 1)), path)
    assert _refusal(path) == f"{path}: is a TorchScript archive"


def test_an_exported_program_is_refused_by_name(tmp_path):
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 1), (torch.zeros(1, 2),)), path)
    assert _refusal(path) == f"{path}: is an exported program (.pt2)"


def test_a_foreign_or_truncated_file_is_refused(tmp_path, made):
    text = tmp_path / "text.pt"
    text.write_text("not a checkpoint")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(made.read_bytes()[:5000])
    archive = tmp_path / "archive.pt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x/readme.txt", "hello")
    for path in (text, cut, archive):
        assert _refusal(path) == f"{path}: not a file of torch.save, or damaged"
    assert _refusal(tmp_path / "none.pt") == f"{tmp_path / 'none.pt'}: no such file"


def _mutated(content, chance):
    """The bytes of a pickle after up to three of its bytes were changed, dropped or added."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at, byte = chance.randrange(len(content)), chance.randrange(256)
        start, stop, new = chance.choice([(0, 1, [byte]), (0, 2, []), (0, 0, [byte])])
        content[at + start : at + stop] = bytes(new)
    return bytes(content)


def test_a_damaged_pickle_in_a_whole_archive_is_refused_or_read(tmp_path):
    """An archive's own checksums are made by whoever writes it."""
    whole, path = tmp_path / "whole.pt", tmp_path / "damaged.pt"
    torch.save({"state_dict": nn.Linear(2, 1).state_dict(), "epoch": 3}, whole)
    chance, messages = random.Random(0), []
    for _ in range(300):
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                is_pickle = name.endswith("data.pkl")
                new.writestr(name, _mutated(content, chance) if is_pickle else content)
        try:
            artifact.load_checkpoint(path)
        except InputError as error:
            messages.append(error.message)
    assert len(messages) > 100
    assert all(message.startswith(f"{path}: ") for message in messages)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("tensor", "fault"),
    [
        (torch.ones(2, 3).to_sparse(), "is sparse_coo, not dense"),
        (torch.ones(2, 3, device="meta"), "has no numbers: it was saved from the device 'meta'"),
        (torch.ones(2, 3, dtype=torch.complex64), "is complex"),
        ("quantized", "holds codes of a quantized model, not floats"),
    ],
)
def test_a_checkpoint_of_other_than_plain_tensors_is_refused(tmp_path, tensor, fault):
    if isinstance(tensor, str):
        tensor = torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)
    path = tmp_path / "odd.pt"
    torch.save({"weight": tensor, "bias": torch.ones(2)}, path)
    assert _refusal(path, artifact.load_checkpoint) == f"{path}: its tensor weight {fault}"


def test_a_checkpoint_is_not_a_module_artifact(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(nn.Linear(2, 1).state_dict(), path)
    assert _refusal(path) == f"{path}: not a module artifact"


def test_a_later_format_is_refused(tmp_path, made):
    path = tmp_path / "later.pt"
    torch.save(torch.load(made, weights_only=True) | {"format": 2}, path)
    assert _refusal(path) == f"{path}: module format 2, this version reads 1"


def test_an_incomplete_artifact_is_refused(tmp_path, made):
    path = tmp_path / "incomplete.pt"
    content = torch.load(made, weights_only=True)
    del content["classes"]
    torch.save(content, path)
    assert _refusal(path) == f"{path}: incomplete module artifact (missing 'classes')"


@pytest.mark.parametrize(
    ("factory", "kwargs"),
    [
        ("os:system", {"command": "touch hacked"}),
        ("torch.utils.collect_env:run", {"command": "touch hacked"}),
        ("setuptools._distutils.spawn:spawn", {"cmd": ["touch", "hacked"]}),
        ("beside:hack", {}),
    ],
)
def test_an_artifact_cannot_call_what_it_likes(tmp_path, made, monkeypatch, factory, kwargs):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("open('hacked', 'w')\ndef hack(): open('hacked', 'w')\n")
    path = tmp_path / "evil.pt"
    content = torch.load(made, weights_only=True)
    torch.save(content | {"factory": factory, "kwargs": kwargs}, path)
    with pytest.raises(InputError) as caught:
        artifact.load_module(path, {"some.other:factory"})
    assert caught.value.message == (
        f"{path}: asks for {factory!r} to be called, which is not of the zoo"
    )
    assert f"--allow-factory {factory}" in caught.value.hint
    assert artifact.read_meta(path).factory == factory  # looking is free
    assert not (tmp_path / "hacked").exists()


def test_a_factory_that_the_user_allows_is_called(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_own_nets.py").write_text(
        "from torch import nn\n"
        "def tiny(classes=10): return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))\n"
    )
    path = tmp_path / "tiny.pt"
    artifact.create(path, "my_own_nets:tiny", digits, "digits", seed=0)
    with pytest.raises(InputError, match="asks for 'my_own_nets:tiny' to be called"):
        artifact.load_module(path)
    module, _ = artifact.load_module(path, {"my_own_nets:tiny"})
    assert module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_what_python_itself_brings_is_never_called(tmp_path, made):
    path = tmp_path / "evil.pt"
    content = torch.load(made, weights_only=True)
    torch.save(content | {"factory": "os:system", "kwargs": {"command": "true"}}, path)
    with pytest.raises(ConfigError, match="os: is part of Python, which has no models"):
        artifact.load_module(path, {"os:system"})


@pytest.mark.parametrize(
    ("kwargs", "fault"),
    [
        ([], "have no names"),
        ({3: 4}, "have no names"),
        ({"classes": [1]}, "are no plain values"),
        ({"classes": {"a": 1}}, "are no plain values"),
    ],
)
def test_arguments_of_a_factory_are_named_plain_values(tmp_path, made, kwargs, fault):
    path = tmp_path / "odd.pt"
    torch.save(torch.load(made, weights_only=True) | {"kwargs": kwargs}, path)
    assert _refusal(path) == f"{path}: its factory's arguments {fault}"


def test_a_part_that_the_network_lacks_is_refused(tmp_path, made):
    path = tmp_path / "odd.pt"
    heads = {"heads": {"nowhere": {"num_heads": 3}}}
    torch.save(torch.load(made, weights_only=True) | heads, path)
    assert _refusal(path) == f"{path}: no part of the model is named 'nowhere'"


@pytest.mark.parametrize("damage", [{"state": {}}, {"heads": []}, {"classes": None}, {"kwargs": 3}])
def test_the_factory_is_judged_before_anything_else(tmp_path, made, damage):
    path = tmp_path / "odd.pt"
    content = torch.load(made, weights_only=True) | {"factory": "os:system"} | damage
    torch.save(content, path)
    assert _refusal(path) == f"{path}: asks for 'os:system' to be called, which is not of the zoo"


@pytest.mark.parametrize(
    "change",
    [
        {"history": [1]}, {"input_shape": "abc"}, {"preprocessing": 3}, {"task": "x"},
        {"classes": [1, 2]}, {"state": {"a": 1}}, {"heads": None}, {"heads": []},
        {"heads": {"head": {"__class__": 3}}}, {"heads": {"head": {"num_heads": "3"}}},
    ],
)  # fmt: skip
def test_parts_of_another_type_are_refused(tmp_path, made, change):
    path = tmp_path / "odd.pt"
    torch.save(torch.load(made, weights_only=True) | change, path)
    assert "incomplete module artifact" in _refusal(path)


def test_a_checkpoint_of_other_things_is_described(tmp_path):
    path = tmp_path / "numbers.pt"
    torch.save([1, 2], path)
    assert _refusal(path, artifact.load_checkpoint) == (
        f"{path}: not a checkpoint: expected names and tensors, found list"
    )
    torch.save({"lr": 0.1}, path)
    assert _refusal(path, artifact.load_checkpoint) == (
        f"{path}: not a checkpoint: expected names and tensors, found a dict of other things"
    )


def test_tensors_of_another_model_are_refused_with_the_path(tmp_path, made):
    _, meta = artifact.load_module(made)
    path = tmp_path / "mixed.pt"
    artifact.save_module(path, nn.Linear(2, 1), meta)
    assert _refusal(path).startswith(f"{path}: the tensors do not fit the model: Missing key(s)")
