"""Handwritten digits that come with scikit-learn: real data without a download.

The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI Machine
Learning Repository, 1998, doi:10.24432/C50P49, CC BY 4.0): 1,797 digits of 13 writers, 8×8 pixels,
17 grey levels.
"""

from collections.abc import Mapping

import numpy as np

from edgekiln.models.data.dataset import Split, UnsplitData

_WHITE = 16  # the pixels count the set bits of a 4×4 block


# As 32×32 RGB the digits fit MLPerf Tiny's image models.
DEFAULTS: Mapping[str, str] = {
    "size": "32",
    "color": "RGB",
    "test": "0.2226",  # 400 of the 1,797
    "val": "0.0557",
    "calib": "0.0557",
}


def read() -> UnsplitData:
    """8×8 grey images, (1797, 8, 8, 1)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / _WHITE)).astype(np.uint8)
    return UnsplitData(
        classes=tuple(str(name) for name in digits.target_names),
        train=Split.of(x=pixels[..., None], y=digits.target.astype(np.int64)),
    )
