"""timm and torchvision beside a CPU build of torch."""

import importlib.util

PACKAGES = ("timm", "torchvision")

# Operators that torchvision's Python code registers a fake for at import.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive: list[object] = []  # a torch.library.Library takes its definitions with it when it dies


def mend_torchvision() -> None:
    """Declare the operators that torchvision's own library would declare.

    The wheel on PyPI is linked against the CUDA build of torch. Beside the CPU build its library
    does not load, and importing torchvision, or timm, which imports it, fails with "operator
    torchvision::nms does not exist". Models need none of these operators, only that they are
    declared.
    """
    if _kept_alive or importlib.util.find_spec("torchvision") is None:
        return
    import torch

    if torch.version.cuda is not None:
        return
    library = torch.library.Library(  # type: ignore[no-untyped-call]
        "torchvision", "FRAGMENT"
    )
    for schema in _OPERATORS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _kept_alive.append(library)
