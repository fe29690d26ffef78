"""Operating points whose activations have 16 bits, beside each other and beside 8."""

from pathlib import Path

import pytest

from edgekiln.runtime import load
from tests.e2e.test_points import HOST, Family, answers


@pytest.mark.parametrize("words", [(True, True), (True, False), (False, True)])
def test_each_point_gives_the_bits_of_its_model_compiled_alone(
    tmp_path: Path, words: tuple[bool, bool]
) -> None:
    family = Family(tmp_path, HOST, words=words)
    net = load(family.program)
    assert len(family.alone) == len(net.points) == len(words)
    for number, alone in enumerate(family.alone):
        net.set_point(number)
        assert answers(net) == answers(load(alone))
