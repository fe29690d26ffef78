"""What a 32-bit processor has no instructions for, a function of the compiler's own library does,
by an ABI that the target's triple names: floats and integers of 64 bits, of which TVM's code of a
resized image makes its places.
"""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.devices.emulated import predict
from edgekiln.runtime import bundle
from edgekiln.targets import profile
from tests import emulated
from tests.compiler.lowering.programs import images, parsed, reference
from tests.e2e.compiled_models import build


@pytest.mark.parametrize(
    "name", ["rpi2-armv7", "cortex-m0plus", "cortex-m4", "cortex-m33", "cortex-m55"]
)
def test_places_in_an_image_are_made_of_long_integers(tmp_path: Path, name: str) -> None:
    target = profile.load(name)
    emulated.require(target)
    model = parsed(
        tmp_path,
        "m (float[1, 2, 2, 5] x) => (float[1, 2, 4, 7] y) {"
        'y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , , s) }',
        s=np.array([1, 2, 4, 7], np.int64),
    )  # fmt: skip
    x = images(1, 2, 2, 5)
    spec, files = bundle.read_program(build(model, target))
    assert "fallback" in {layer.op for layer in spec.layers}
    executable = files[bundle.IMAGE if spec.footprint else bundle.RUNNER]
    (found,) = predict(spec, executable, [x])
    (expected,) = reference(model, x)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-6)
