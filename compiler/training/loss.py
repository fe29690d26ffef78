"""What training minimises."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["classification", "reconstruction"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """L = α·L_teacher + (1−α)·L_task; without a teacher, L_task alone.

    Classification: L_task is the cross entropy, L_teacher = T²·KL(teacher ‖ student) over the
    softened probabilities softmax(logits / T) (Hinton et al., arXiv:1503.02531).
    Reconstruction: both are mean squared errors, to the input and to the teacher's output.
    """

    task: Task = "classification"
    alpha: float = 0.7
    temperature: float = 4.0
    label_smoothing: float = 0.0

    def __call__(
        self, output: "Tensor", x: "Tensor", y: "Tensor", teacher: "Tensor | None"
    ) -> "Tensor":
        """The loss of one batch, a scalar, in float32 whatever the precision of the network.

        Args:
            output: the network's, (N, classes) logits or shaped like `x`.
            x: the input batch.
            y: (N,) class indices; unused for reconstruction.
            teacher: the teacher's output, shaped like `output`, or None.
        """
        output = output.float()
        task_loss = self._task_loss(output, x, y)
        if teacher is None:
            return task_loss
        return (
            self.alpha * self._teacher_loss(output, teacher.float()) + (1 - self.alpha) * task_loss
        )

    def _task_loss(self, output: "Tensor", x: "Tensor", y: "Tensor") -> "Tensor":
        from torch.nn import functional as F

        if self.task == "reconstruction":
            return F.mse_loss(output, x)
        return F.cross_entropy(output, y, label_smoothing=self.label_smoothing)

    def _teacher_loss(self, output: "Tensor", teacher: "Tensor") -> "Tensor":
        from torch.nn import functional as F

        if self.task == "reconstruction":
            return F.mse_loss(output, teacher)
        T = self.temperature
        student_log = F.log_softmax(output / T, dim=1)
        teacher_log = F.log_softmax(teacher / T, dim=1)
        # T² keeps the gradient's size: softening divides it by T twice.
        return F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True) * T**2
