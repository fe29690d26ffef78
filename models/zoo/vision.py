"""timm and torchvision beside a CPU build of torch."""

PACKAGES = ("timm", "torchvision")

# The operators for which torchvision's Python code registers a fake at import.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive: list[object] = []  # a torch.library.Library takes its definitions with it when it dies


def mend_torchvision() -> None:
    """Declare the operators that torchvision's own library would declare, if it does not load.

    The wheel on PyPI is linked against the CUDA build of torch. Beside the CPU build its library
    does not load, and importing torchvision, or timm, which imports it, fails with "operator
    torchvision::nms does not exist". Models need none of these operators, only that they are
    declared.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if _kept_alive or "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _OPERATORS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept_alive.append(library)
