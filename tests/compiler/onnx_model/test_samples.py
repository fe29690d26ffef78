"""Samples without labels become a model's inputs, or it is said why they cannot."""

import numpy as np
import pytest
from PIL import Image

from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.onnx_model.model_inputs import ModelInput, ModelInputs
from edgekiln.models.data import load
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.manifest import Preprocessing

DRAW = np.random.default_rng(0)


def takes(*inputs, batched=True, batch=None):
    made = tuple(ModelInput(name=n, dtype=d, shape=s) for n, d, s in inputs)
    return ModelInputs(inputs=made, batched=batched, batch=batch)


def feed(model, data, meta=None):
    return feed_for(meta or Meta(), model, data=str(data), seed=0)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def everything(given, name="x"):
    parts = ("test", "val", "calib")
    return np.concatenate([call[name] for p in parts for call in given.batches(p, batch=5)])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (3, 11), (49, 10, 1), (2, 3, 4, 5)])
def test_floats_of_any_shape_are_the_models_own_numbers(tmp_path, shape, dtype):
    x = DRAW.normal(size=(20, *shape)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    given = feed(takes(("x", "float32", shape)), tmp_path / "x.npy")
    found = everything(given)
    assert found.dtype == np.float32
    assert given.preprocessing is None
    assert not given.scored
    wanted = {sample.astype(np.float32).tobytes() for sample in x}
    assert {sample.tobytes() for sample in found} == wanted


def test_a_fixed_batch_of_one_may_be_in_the_samples(tmp_path):
    np.save(tmp_path / "x.npy", DRAW.normal(size=(20, 1, 6)).astype(np.float32))
    given = feed(takes(("x", "float32", (6,)), batch=1), tmp_path / "x.npy")
    assert everything(given).shape == (20, 6)


def test_inputs_are_found_by_name_and_type(tmp_path):
    path = saved(
        tmp_path / "d.npz",
        mask=DRAW.random((20, 6)) > 0.5,
        tokens=DRAW.integers(0, 9, (20, 6), np.int32),
        other=np.zeros(20),
    )
    model = takes(("tokens", "int64", (6,)), ("mask", "bool", (6,)))
    call = next(feed(model, path).batches("calib", batch=4))
    assert list(call) == ["tokens", "mask"]
    assert (call["tokens"].dtype, call["mask"].dtype) == (np.int64, np.bool_)
    assert call["tokens"].shape == call["mask"].shape == (4, 6)


def test_a_model_without_a_batch_gets_whole_inputs_one_by_one(tmp_path):
    path = saved(
        tmp_path / "d.npz",
        x=DRAW.normal(size=(20, 576)),
        state=DRAW.normal(size=(20, 2, 1, 8)),
        rate=np.full(20, 16000),
    )
    model = takes(
        ("x", "float32", (1, 576)), ("state", "float32", (2, 1, 8)), ("rate", "int64", ()),
        batched=False, batch=1,
    )  # fmt: skip
    calls = [*feed(model, path).batches("test", batch=64)]
    assert len(calls) == 4
    assert [array.shape for array in calls[0].values()] == [(1, 576), (2, 1, 8), ()]


def test_a_missing_input_is_named_with_all_that_the_model_takes(tmp_path):
    path = saved(tmp_path / "d.npz", tokens=np.zeros((9, 6), np.int64), masks=np.ones((9, 6), bool))
    with pytest.raises(InputError) as caught:
        feed(takes(("tokens", "int64", (6,)), ("mask", "bool", (6,))), path)
    assert caught.value.message == (f"{path} has no samples of input 'mask'; it has tokens, masks")
    assert "int64 tokens (6,), bool mask (6,)" in caught.value.hint


def test_another_shape_is_refused_with_both(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9, 10, 49), np.float32))
    with pytest.raises(InputError) as caught:
        feed(takes(("x", "float32", (49, 10))), tmp_path / "x.npy")
    assert caught.value.message == (
        f"samples of {tmp_path / 'x.npy'} have the shape (10, 49), input 'x' takes (49, 10)"
    )


def test_whole_numbers_must_fit_the_inputs_type(tmp_path):
    np.save(tmp_path / "x.npy", np.full((9, 4), 300))
    with pytest.raises(InputError, match="300 to 300, which uint8 does not hold"):
        feed(takes(("x", "uint8", (4,))), tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.zeros((9, 4), np.float32))
    with pytest.raises(InputError, match="are float32, input 'x' takes int64"):
        feed(takes(("x", "int64", (4,))), tmp_path / "x.npy")


@pytest.fixture
def pictures(tmp_path):
    home = tmp_path / "pictures"
    home.mkdir()
    for index in range(12):
        pixels = DRAW.integers(0, 256, (20 + index % 3, 24, 3), np.uint8)
        Image.fromarray(pixels).save(home / f"{index:02}.png")
    return home


def test_pixels_are_refused_where_nobody_says_what_they_mean(pictures):
    with pytest.raises(InputError) as caught:
        feed(takes(("x", "float32", (3, 16, 16))), pictures)
    assert "the model does not say how one becomes the other" in caught.value.message
    assert "?scale=0.0039216&mean=0.485,0.456,0.406" in caught.value.hint


@pytest.mark.parametrize(
    ("shape", "layout"), [((3, 16, 12), "NCHW"), ((16, 12, 3), "NHWC"), ((1, 16, 12), "NCHW")]
)
def test_pictures_are_resized_and_laid_out_as_the_model_takes_them(pictures, shape, layout):
    given = feed(takes(("x", "float32", shape)), f"{pictures}?scale=1&mean=128&std=64")
    assert given.preprocessing is not None
    assert given.preprocessing.layout == layout
    found = everything(given)
    assert found.shape == (12, *shape)
    assert -2 <= found.min() < -1
    assert 0.5 < found.max() <= 2


OWN = Preprocessing(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    "options",
    ["", "?scale=0.0039216&mean=0.485,0.456,0.406&std=0.229,0.224,0.225",
     "?scale=1&mean=123.675,116.28,103.53&std=58.395,57.12,57.375"],
)  # fmt: skip
def test_options_may_say_of_pixels_what_the_model_says(pictures, options):
    given = feed(
        takes(("x", "float32", (3, 16, 16))), f"{pictures}{options}", Meta(preprocessing=OWN)
    )
    assert given.preprocessing == OWN


@pytest.mark.parametrize(
    ("options", "labelled"),
    [("scale=1", False), ("mean=0.5&std=0.5", False), ("mean=0.4,0.5", False), ("scale=1", True)],
)
def test_options_that_say_something_else_of_pixels_than_the_model_are_refused(
    tmp_path, pictures, options, labelled
):
    data = pictures
    if labelled:
        x = DRAW.integers(0, 256, (40, 16, 16, 3), np.uint8)
        data = saved(tmp_path / "d.npz", x=x, y=np.arange(40) % 2)
    with pytest.raises(InputError, match=r"not the model's own, 0\.00392157, 0\.485,"):
        feed(takes(("x", "float32", (3, 16, 16))), f"{data}?{options}", Meta(preprocessing=OWN))


def test_numbers_for_tokens_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", DRAW.integers(0, 9, (20, 4)))
    with pytest.raises(InputError, match="go with floats, input 'x' takes int64"):
        feed(takes(("x", "int64", (4,))), f"{tmp_path / 'x.npy'}?scale=2")


FLOATS = DRAW.normal(size=(40, 4)).astype(np.float32)


def two_inputs():
    return [({"a": row, "b": row}, place % 2) for place, row in enumerate(FLOATS)]


def whole_numbers():
    return [(row, place % 2) for place, row in enumerate(DRAW.integers(0, 9, (40, 4)))]


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_numbers_of_labelled_data_are_of_its_first_input_wherever_the_model_has_it(names):
    model = takes(*((name, "float32", (4,)) for name in names))
    given = feed(model, f"{__name__}:two_inputs?task=classification&scale=100")
    np.testing.assert_allclose(everything(given, "a"), everything(given, "b") * 100, rtol=1e-5)


def test_labelled_whole_numbers_become_floats_by_the_options():
    given = feed(
        takes(("x", "float32", (4,))), f"{__name__}:whole_numbers?task=classification&scale=0.5"
    )
    assert set(np.unique(everything(given) * 2)) <= set(range(9))


def test_what_is_no_picture_is_not_told_to_be_resized(tmp_path):
    path = saved(tmp_path / "d.npz", x=FLOATS, y=np.arange(40) % 2)
    with pytest.raises(InputError) as caught:
        feed(takes(("x", "float32", (5,))), path)
    assert caught.value.hint == "give data of the model's size"


def test_pictures_go_into_bytes_as_they_are(pictures):
    found = everything(feed(takes(("x", "uint8", (3, 16, 16))), pictures))
    assert found.dtype == np.uint8
    assert found.max() > 200


def test_labelled_images_go_into_bytes_as_they_are():
    given = feed(takes(("x", "uint8", (3, 32, 32))), "digits")
    (call,) = given.batches("test", batch=8, samples=8)
    exact = load("digits", 0).test.x[:8].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(call["x"], exact)


def test_a_function_that_a_file_names_is_not_called():
    with pytest.raises(ConfigError) as caught:
        feed(takes(("x", "float32", (4,))), "", Meta(data="nowhere:at_all"))
    assert caught.value.message == "the model names nowhere:at_all as its data, which is a function"
    assert caught.value.hint == "if you trust the file: --data 'nowhere:at_all'"


TWO = takes(("image", "float32", (3, 8, 8)), ("facts", "float32", (6,)))


def test_the_numbers_of_pixels_are_not_those_of_floats_beside_them(tmp_path):
    image = DRAW.integers(0, 256, (20, 8, 8, 3), np.uint8)
    facts = DRAW.normal(size=(20, 6)).astype(np.float32)
    given = feed(TWO, f"{saved(tmp_path / 'd.npz', image=image, facts=facts)}?scale=0.5&mean=3")
    found = everything(given, "facts")
    assert sorted(map(tuple, found)) == sorted(map(tuple, facts))
    assert everything(given, "image").max() == 255 * 0.5 - 3


def test_the_numbers_of_pixels_are_not_those_of_other_whole_numbers_beside_them(tmp_path):
    path = saved(
        tmp_path / "d.npz",
        image=DRAW.integers(0, 256, (20, 8, 8, 3), np.uint8),
        facts=DRAW.integers(0, 9, (20, 6)),
    )
    with pytest.raises(InputError, match="samples are int64, input 'facts' takes float32"):
        feed(TWO, f"{path}?scale=0.5")


def test_numbers_that_are_meant_for_no_input_are_refused(tmp_path):
    path = saved(
        tmp_path / "d.npz",
        image=np.zeros((20, 3, 8, 8), np.float32),
        facts=np.zeros((20, 6), np.float32),
    )
    with pytest.raises(InputError, match="scale, mean and std are meant for no input") as caught:
        feed(TWO, f"{path}?scale=0.5")
    assert "give the pixels as uint8" in caught.value.hint


def test_samples_of_one_unnamed_input_are_not_said_to_lack_the_one_that_they_are(tmp_path):
    path = saved(tmp_path / "d.npz", image=np.zeros((20, 3, 8, 8), np.float32))
    with pytest.raises(InputError) as caught:
        feed(TWO, path)
    assert caught.value.message == f"{path} has samples of one input; the model takes 2"
    assert "float32 image (3, 8, 8), float32 facts (6,)" in caught.value.hint
