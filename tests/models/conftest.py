"""A data set, and a model made for it."""

import pytest

from edgekiln.models import artifact, data


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def made(tmp_path, digits):
    path = tmp_path / "resnet8.pt"
    artifact.create(path, "resnet8", digits, "digits", seed=0)
    return path
