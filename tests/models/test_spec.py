"""`name?key=value`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.models import spec
from edgekiln.runtime.errors import ConfigError

WORDS = st.text(st.characters(exclude_characters="?&=", exclude_categories=("Cs",)), min_size=1)


@given(name=WORDS, options=st.dictionaries(WORDS, WORDS))
def test_splitting_undoes_joining(name, options):
    assert spec.split(spec.join(name, options)) == (name, options)


def test_values_are_what_they_spell():
    assert [spec.typed(text) for text in ("4", "0.25", "true", "False", "none", "relu")] == [
        4,
        0.25,
        True,
        False,
        None,
        "relu",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet8?classes", "resnet8?classes: 'classes' is not an option"),
        ("resnet8?=4", "resnet8?=4: '=4' is not an option"),
        ("d?val=1&val=2", "d?val=1&val=2: option 'val' is given twice"),
    ],
)
def test_a_malformed_option_is_named(text, message):
    with pytest.raises(ConfigError) as caught:
        spec.split(text)
    assert caught.value.message == message
