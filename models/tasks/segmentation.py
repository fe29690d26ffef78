"""A class for each pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.tasks.classification import softened_divergence
from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, class_indices
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.models.tasks.motion import Motion


@dataclass(frozen=True, kw_only=True)
class Segmentation(LearningTask):
    """Output: (N, classes, H, W) logits; target: (N, H, W) class indices, `ignore` where nobody
    knows. Cross entropy; mIoU: the classes' mean intersection over union, each over the pixels of
    all samples, of the classes that are told or true anywhere.
    """

    ignore: int = 255

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="mIoU", unit="%", share=True),)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        return pixel_cross_entropy(outputs[0], target.long(), self.ignore)

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        ours, theirs = (self.class_logits(each) for each in (outputs, taught))
        return softened_divergence(ours, theirs, temperature)

    def class_logits(self, outputs: "Sequence[Tensor]") -> "Tensor":
        # (N · H · W, C): each pixel is a decision.
        return outputs[0].movedim(1, -1).flatten(0, 2)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        told: Array = outputs[0].argmax(axis=1).astype(np.int16)
        return told

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        known = targets != self.ignore
        told, true = answers[known].astype(np.int64), targets[known].astype(np.int64)
        classes = 1 + max(int(told.max(initial=0)), int(true.max(initial=0)))
        # One number for each (true, told): a row-major place in the confusion matrix.
        pairs = np.bincount(true * classes + told, minlength=classes**2)
        confusion = pairs.reshape(classes, classes)
        both = confusion.diagonal()
        either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
        return (float((both[either > 0] / either[either > 0]).mean()) if len(told) else 0.0,)

    def checked(self, where: str, targets: Array) -> Array:
        masks = class_indices(where, targets, ranks=(3,), what="class indices (N, H, W)")
        if masks.size and (masks.min() < 0 or masks.max() > 255):
            raise InputError(
                f"{where}: a mask holds {masks.min() if masks.min() < 0 else masks.max()}",
                hint="classes count from 0 to 254; 255 is left out of loss and measure",
            )
        return masks.astype(np.uint8)

    def classes_in(self, targets: Array) -> int:
        return 1 + int(targets[targets != self.ignore].max(initial=0))

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (facts.classes, *facts.target_shape)

    def moved(self, target: "Tensor", motion: "Motion") -> "Tensor":
        return motion.apply(target, fill=self.ignore)


def pixel_cross_entropy(logits: "Tensor", target: "Tensor", ignore: int) -> "Tensor":
    """Cross entropy of (N, C, …) logits and (N, …) classes, the mean over all but `ignore`.

    Written with a sum: the gradient of torch's own for images is not deterministic on every device.
    """
    from torch.nn import functional as F

    known = target != ignore
    log_p = F.log_softmax(logits, dim=1)
    # `gather` needs an index that exists, also where the product below drops what it picked.
    at = target.where(known, target.new_zeros(())).unsqueeze(1)
    picked = log_p.gather(1, at).squeeze(1)
    return -(picked * known).sum() / known.sum().clamp_min(1)
