"""What is where on a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.boxes import MOST_BOXES, OVERLAPS, Found, average_precision, corners
from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.multi_label import softened_bernoulli
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, finite
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.models.tasks.motion import Motion

NOTHING = -1  # the class of a row that only fills up
# How a match is chosen and what it costs, as in DETR (arXiv:2005.12872, appendix A.4).
_BOX, _OVERLAP = 5.0, 2.0
_FOCUS = 2.0  # easy answers weigh little: focal loss (arXiv:1708.02002, γ = 2)


@dataclass(frozen=True, kw_only=True)
class ObjectDetection(LearningTask):
    """Output: (N, K, 4 + classes): K boxes, each center x, center y, width and height as shares of
    the picture, then a logit for each class. Target: (N, M, 5): class, then the box likewise; class
    -1 where a picture has fewer.

    The loss matches each true box with one told box, those that together cost least, and asks of
    all others that they say nothing (DETR's, with a focal loss): so the model needs no
    non-maximum suppression. The measure is COCO's mAP, the mean over ten overlaps from 0.5 to 0.95,
    or at the one that `overlap` says.
    """

    overlap: float | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        name = "mAP" if self.overlap is None else f"mAP@{self.overlap:g}"
        return (Metric(name=name, unit="%", share=True),)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        import torch
        from torch.nn import functional as F

        boxes, logits = outputs[0][..., :4], outputs[0][..., 4:]
        sure = torch.zeros_like(logits)
        ours, theirs = [], []
        for picture, (told, said, true) in enumerate(zip(boxes, logits, target, strict=True)):
            there = true[true[:, 0] >= 0]
            chosen, of = _matched(told, said, there)
            sure[picture, chosen, there[of, 0].long()] = 1.0
            ours.append(told[chosen])
            theirs.append(there[of, 1:])
        count = max(1, sum(map(len, ours)))
        p = logits.sigmoid()
        missed = (sure - p).abs() ** _FOCUS
        said_loss = F.binary_cross_entropy_with_logits(
            logits, sure, missed.detach(), reduction="sum"
        )
        told, true = torch.cat(ours), torch.cat(theirs)
        box_loss = _BOX * (told - true).abs().sum() + _OVERLAP * (1 - _giou(told, true)).sum()
        return (said_loss + box_loss) / count

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        """The boxes' distance, where the teacher is sure of one, and the logits' divergence."""
        ours, theirs = outputs[0], taught[0]
        weight = theirs[..., 4:].sigmoid().amax(dim=-1, keepdim=True)
        gaps = (ours[..., :4] - theirs[..., :4]).abs() * weight
        boxes = _BOX * gaps.sum() / weight.sum().clamp_min(1)
        return boxes + softened_bernoulli(ours[..., 4:], theirs[..., 4:], temperature)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        """(N, K', 6): the surest boxes' left, top, right, bottom, score and class."""
        told = outputs[0].astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(told[..., 4:], -60, 60)))
        best, kind = scores.max(axis=-1), scores.argmax(axis=-1)
        every = np.concatenate([corners(told[..., :4]), best[..., None], kind[..., None]], axis=-1)
        # Stable, so that equal scores keep the order of the boxes on every machine.
        order = np.argsort(-best, axis=1, kind="stable")[:, :MOST_BOXES]
        return np.take_along_axis(every, order[..., None], axis=1)

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        told, true = answers.astype(np.float64), targets.astype(np.float64)
        levels = OVERLAPS if self.overlap is None else (self.overlap,)
        found: list[float] = []
        for kind in np.unique(true[..., 0][true[..., 0] >= 0]).tolist():
            pictures = [_of_class(a, b, kind) for a, b in zip(told, true, strict=True)]
            each = [average_precision(pictures, level) for level in levels]
            found.append(float(np.mean([value for value in each if value is not None])))
        return (float(np.mean(found)) if found else 0.0,)

    def checked(self, where: str, targets: Array) -> Array:
        if targets.ndim != 3 or targets.shape[2] != 5 or targets.dtype.kind not in "iuf":
            raise InputError(
                f"{where}: targets are {targets.dtype} of shape {targets.shape}, expected "
                "(N, boxes, 5)",
                hint="each box is class, center x, center y, width, height, as shares of the "
                "picture; fill up with class -1",
            )
        finite(where, targets)
        boxes = targets.astype(np.float32)
        there = boxes[boxes[..., 0] >= 0]
        if len(there) and (there[:, 1:].min() < 0 or there[:, 1:].max() > 1):
            raise InputError(
                f"{where}: a box holds {there[:, 1:].min():g} … {there[:, 1:].max():g}",
                hint="boxes are shares of the picture, from 0 to 1: divide by width and height",
            )
        return boxes

    def classes_in(self, targets: Array) -> int:
        return 1 + int(targets[..., 0].astype(np.int64).max(initial=0))

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (None, 4 + facts.classes)

    def moved(self, target: "Tensor", motion: "Motion") -> "Tensor":
        """Boxes go with the picture; what leaves it is cut off, or left out."""
        import torch

        kind, x, y, width, height = target.unbind(dim=2)
        if motion.down is not None and motion.right is not None:
            # Motions are in pixels, boxes in shares; shifted first, then mirrored, as pictures are.
            x = x + (motion.right / motion.width)[:, None]
            y = y + (motion.down / motion.height)[:, None]
        if motion.mirrored is not None:
            x = torch.where(motion.mirrored[:, None], 1 - x, x)
        left, right = ((x + sign * width / 2).clamp(0, 1) for sign in (-1, 1))
        top, bottom = ((y + sign * height / 2).clamp(0, 1) for sign in (-1, 1))
        gone = (right <= left) | (bottom <= top)
        kind = torch.where(gone, torch.full_like(kind, NOTHING), kind)
        return torch.stack(
            [kind, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dim=2
        )


def _of_class(told: NDArray[np.float64], true: NDArray[np.float64], kind: float) -> Found:
    ours = told[told[:, 5] == kind]
    return Found(
        boxes=ours[:, :4], scores=ours[:, 4], true=corners(true[true[:, 0] == kind][:, 1:])
    )


def _matched(boxes: "Tensor", logits: "Tensor", true: "Tensor") -> "tuple[Tensor, Tensor]":
    """Which told box stands for which true one: the pairs that together cost least.

    Args:
        boxes: (K, 4); logits: (K, classes); true: (M, 5).
    """
    import torch
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        said = -logits.sigmoid()[:, true[:, 0].long()]
        gap = (boxes[:, None] - true[None, :, 1:]).abs().sum(dim=-1)
        shared = _giou(boxes[:, None], true[None, :, 1:])
        cost = (2 * said + _BOX * gap - _OVERLAP * shared).double()
        # A loss that is no number is told by the training itself.
        rows, columns = linear_sum_assignment(cost.nan_to_num(1e9).cpu().numpy())
    device = boxes.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def _giou(ours: "Tensor", theirs: "Tensor") -> "Tensor":
    """Generalized intersection over union (arXiv:1902.09630) of (…, 4) centered boxes, in pairs."""
    import torch

    def edges(boxes: "Tensor") -> "tuple[Tensor, Tensor]":
        middle, size = boxes[..., :2], boxes[..., 2:].clamp_min(0)
        return middle - size / 2, middle + size / 2

    (low, high), (their_low, their_high) = edges(ours), edges(theirs)
    both = (torch.minimum(high, their_high) - torch.maximum(low, their_low)).clamp_min(0).prod(-1)
    either = (high - low).prod(-1) + (their_high - their_low).prod(-1) - both
    around = (torch.maximum(high, their_high) - torch.minimum(low, their_low)).prod(-1)
    tiny = 1e-9  # a box may have no area
    return both / (either + tiny) - (around - either) / (around + tiny)
