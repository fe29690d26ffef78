"""Module artifacts: one file, no code in it, the same bytes for the same weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgekiln.models import artifact, data, zoo
from edgekiln.runtime.errors import InputError, StorageError


def test_a_module_comes_back_as_it_was(made, digits):
    module, meta = artifact.load_module(made)
    assert not module.training
    assert meta.factory == "resnet8"
    assert meta.kwargs == {"classes": 10, "in_channels": 3}
    assert meta.input_shape == (3, 32, 32)
    assert meta.data == "digits"
    assert meta.preprocessing == digits.preprocessing
    assert meta.classes == tuple("0123456789")
    assert module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_saving_what_was_loaded_gives_the_same_bytes(made, tmp_path):
    again = tmp_path / "another name.pt"
    artifact.save_module(again, *artifact.load_module(made))
    assert again.read_bytes() == made.read_bytes()


def test_equal_words_do_not_change_the_bytes_by_being_one_object(made, tmp_path):
    module, meta = artifact.load_module(made)
    word = "classes"
    shared = replace(meta, history={"a": word, "b": word})
    apart = replace(meta, history={"a": word, "b": "".join(["clas", "ses"])})
    artifact.save_module(tmp_path / "shared.pt", module, shared)
    artifact.save_module(tmp_path / "apart.pt", module, apart)
    assert (tmp_path / "shared.pt").read_bytes() == (tmp_path / "apart.pt").read_bytes()


def test_the_seed_decides_the_initial_weights(tmp_path, made, digits):
    torch.rand(7)  # the caller's own random numbers play no part, nor are they disturbed
    before = torch.random.get_rng_state()
    artifact.create(tmp_path / "same.pt", "resnet8", digits, "digits", seed=0)
    artifact.create(tmp_path / "other.pt", "resnet8", digits, "digits", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (tmp_path / "same.pt").read_bytes() == made.read_bytes()
    assert (tmp_path / "other.pt").read_bytes() != made.read_bytes()


def test_the_data_set_shapes_the_model(tmp_path):
    grey = data.load("digits?color=L&size=16")
    meta = artifact.create(tmp_path / "vit.pt", "vit", grey, "digits?color=L&size=16", seed=0)
    assert meta.kwargs == {"classes": 10, "in_channels": 1, "image_size": 16}


def test_what_the_user_says_wins_over_the_data_set(tmp_path, digits):
    with pytest.raises(InputError) as caught:
        artifact.create(tmp_path / "m.pt", "resnet8?classes=7", digits, "digits", seed=0)
    assert caught.value.message == (
        "resnet8: gives (1, 7) for one sample of digits, expected (1, 10)"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_take_the_samples_is_refused(tmp_path, digits):
    with pytest.raises(InputError) as caught:
        artifact.create(tmp_path / "m.pt", "autoencoder", digits, "digits", seed=0)
    assert caught.value.message.startswith(
        "autoencoder: does not take the samples of digits, shape (3, 32, 32): "
    )


def test_pruned_widths_live_in_the_shapes(tmp_path, made):
    _, meta = artifact.load_module(made)
    narrow = zoo.build("resnet8?width=8")
    artifact.save_module(tmp_path / "narrow.pt", narrow, meta)  # the factory says width 16
    module, _ = artifact.load_module(tmp_path / "narrow.pt")
    x = torch.ones(1, 3, 32, 32)
    assert torch.equal(module(x), narrow.eval()(x))


def test_a_slice_is_stored_without_the_tensor_it_was_cut_from(tmp_path, made):
    _, meta = artifact.load_module(made)
    module, small = nn.Linear(4, 2), nn.Linear(4, 2)
    module.weight = nn.Parameter(torch.zeros(1000, 4)[:2])
    small.weight = nn.Parameter(torch.zeros(2, 4))
    small.bias = module.bias
    artifact.save_module(tmp_path / "slice.pt", module, meta)
    artifact.save_module(tmp_path / "small.pt", small, meta)
    assert (tmp_path / "slice.pt").read_bytes() == (tmp_path / "small.pt").read_bytes()


def test_a_failed_save_leaves_nothing_half_made(made):
    module, meta = artifact.load_module(made)
    before = made.read_bytes()
    directory = made.with_name("directory.pt")
    directory.mkdir()
    with pytest.raises(StorageError, match="directory"):
        artifact.save_module(directory, module, meta)
    assert made.read_bytes() == before
    assert {path.name for path in made.parent.iterdir()} == {made.name, directory.name}


def test_a_file_of_old_torch_versions_is_read(tmp_path):
    path = tmp_path / "old.pt"
    torch.save(nn.Linear(2, 1).state_dict(), path, _use_new_zipfile_serialization=False)
    assert artifact.load_checkpoint(path).keys() == {"weight", "bias"}


def test_a_state_dict_is_read_however_it_is_wrapped(tmp_path):
    state = nn.Linear(2, 1).state_dict()
    for number, content in enumerate(
        (
            state,
            {"state_dict": state, "epoch": 3},
            {"model": state},
            {f"module.{name}": tensor for name, tensor in state.items()},
        )
    ):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        loaded = artifact.load_checkpoint(path)
        assert loaded.keys() == {"weight", "bias"}
        assert torch.equal(loaded["weight"], state["weight"])


def test_a_module_artifact_is_a_checkpoint_too(made):
    assert artifact.load_checkpoint(made)["head.weight"].shape == (10, 64)
