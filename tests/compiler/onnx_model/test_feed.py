import numpy as np
import pytest

from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.onnx_model.model_inputs import ModelInput, ModelInputs
from edgekiln.models.data import load
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing


def feed(meta: Meta | None = None, shape=(3, 32, 32), data="digits"):
    only = ModelInput(name="x", dtype="float32", shape=shape)
    takes = ModelInputs(inputs=(only,), batched=True, batch=None)
    return feed_for(meta or Meta(), takes, data=data, seed=0)


def test_batches_give_the_first_samples_in_order():
    digits = load("digits", 0)
    given = feed()
    calls = [call["x"] for call in given.batches("test", batch=32, samples=70)]
    assert [len(x) for x in calls] == [32, 32, 6]
    np.testing.assert_array_equal(given.targets("test")[""], digits.test.y)
    own = preprocess(digits.test.x[:70], digits.preprocessing)
    np.testing.assert_array_equal(np.concatenate(calls), own)
    assert calls[0].dtype == np.float32


def test_the_models_own_preprocessing_wins_over_the_datas():
    own = Preprocessing(scale=1.0, mean=(0.0,), std=(2.0,))
    given = feed(Meta(preprocessing=own))
    first = next(given.batches("test", batch=1))["x"][0]
    assert given.preprocessing == own
    np.testing.assert_array_equal(first.transpose(1, 2, 0), load("digits", 0).test.x[0] / 2)


def test_the_models_own_data_is_the_default():
    assert feed(Meta(data="digits"), data="").name == "digits"


@pytest.mark.parametrize(
    ("shape", "layout"), [((3, 32, 32), "NCHW"), ((32, 32, 3), "NHWC"), ((3072,), "N*")]
)
def test_the_layout_that_fits_is_taken(shape, layout):
    assert feed(shape=shape).preprocessing.layout == layout


def test_a_layout_the_model_names_is_not_changed():
    own = Preprocessing(layout="NHWC")
    with pytest.raises(InputError) as caught:
        feed(Meta(preprocessing=own))
    assert caught.value.message == (
        "samples of digits have the shape (32, 32, 3), the model takes (3, 32, 32)"
    )
    assert caught.value.hint == (
        "give data of the model's size, or resize it: --data 'PATH?size=HEIGHTxWIDTH'"
    )


def test_no_data_at_all_is_an_error():
    with pytest.raises(ConfigError, match="does not name the data it was trained on"):
        feed(data="")


def test_samples_that_are_whole_calls_of_a_fixed_batch_stay_together(tmp_path):
    given = np.arange(24 * 10 * 3, dtype=np.float32).reshape(24, 10, 3)
    np.save(tmp_path / "x.npy", given)
    only = ModelInput(name="x", dtype="float32", shape=(3,))
    takes = ModelInputs(inputs=(only,), batched=True, batch=10)
    made = feed_for(Meta(), takes, data=str(tmp_path / "x.npy"), seed=0)
    calls = [
        call["x"] for part in ("val", "calib", "test") for call in made.batches(part, batch=10)
    ]
    assert len(calls) == 24  # a validation of fewer rows than a call has would be none
    np.testing.assert_array_equal(np.sort(calls, axis=0), given)
