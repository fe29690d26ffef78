"""Teachers at work: what a network is shown and told in a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.training import precision
from edgekiln.compiler.training.assess import outputs_of
from edgekiln.compiler.training.hints import HintPair, regressors_of
from edgekiln.models.module_ends import named_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from torch import Tensor, nn

    from edgekiln.compiler.training.answer_views import AnswerViews
    from edgekiln.compiler.training.batch import Batch
    from edgekiln.compiler.training.batches import Batches
    from edgekiln.compiler.training.checkpoint import State
    from edgekiln.compiler.training.ema import Ema
    from edgekiln.compiler.training.precision import Precision

    Answers = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """Who teaches, and how.

    Args:
        networks: teachers.
        average: the moving average of the network's own weights is a teacher, too, the last one
            (Tarvainen, Valpola: mean teachers, arXiv:1703.01780).
        views: where the networks' answers are kept; None: they are asked in each epoch.
        hints: layers that learn from layers of the first network.
    """

    networks: "Sequence[nn.Module]" = ()
    average: bool = False
    views: "AnswerViews | None" = None
    hints: Sequence[HintPair] = ()


class Classroom:
    """A teaching under way.

    Args:
        module: who learns; it and the teachers, in evaluation mode, are on the device.
        ema: the average of its weights.
        samples: a few, as the module takes them, to see the shapes of layers.
    """

    def __init__(
        self,
        teaching: Teaching,
        module: "nn.Module",
        ema: "Ema",
        samples: "Sequence[Tensor]",
        device: "torch.device",
    ) -> None:
        self._teaching, self._module, self._ema, self._device = teaching, module, ema, device
        self.learner = module  # what is trained: with hints, the regressors beside the module
        self._asked = list(teaching.networks)
        if teaching.hints:
            self._watch(teaching.hints, samples)

    def batches(
        self, batches: "Batches", data: str, epoch: int, computed_in: "Precision"
    ) -> "Iterator[Batch]":
        """The training batches of an epoch, with the answers that are kept; `data` is a hash of the
        samples.
        """
        views = self._teaching.views
        if views is None:
            return batches.training(epoch)
        import torch

        def ask(place: int, batch: "Batch") -> "Answers":
            with torch.no_grad(), precision.autocast(computed_in, self._device):
                return outputs_of(self._asked[place], batch.to(self._device))

        return views.training(batches, data, epoch, ask, computed_in)

    def taught(self, batch: "Batch") -> "Sequence[Answers]":
        """What each teacher says of a batch, which is on the device."""
        import torch

        with torch.no_grad():
            found = list(batch.taught or (outputs_of(each, batch) for each in self._asked))
            if self._teaching.average:
                found.append(self._average_of(batch))
        return found

    def dismissed(self) -> "list[nn.Module]":
        """The module and the teachers, as they were when the lessons began."""
        from edgekiln.compiler.training.watched import Watched

        for each in (self.learner, *self._asked):
            if isinstance(each, Watched):
                each.release()
        return [self._module, *self._teaching.networks]

    def state_dict(self) -> "State":
        """What of the teaching changes: the regressors' weights."""
        own = self._module.state_dict().keys()
        names = {f"network.{name}" for name in own}
        return {
            name: tensor
            for name, tensor in self.learner.state_dict().items()
            if self.learner is not self._module and name not in names
        }

    def load_state_dict(self, saved: "State") -> None:
        """Continue where `saved` stopped."""
        self.learner.load_state_dict(saved, strict=False)

    def _average_of(self, batch: "Batch") -> "Answers":
        from torch.func import functional_call

        # As it is evaluated: no noise, and no batch that changes the average's statistics.
        self._module.eval()
        answers = functional_call(self._module, self._ema.state, batch.arguments)
        self._module.train()
        return named_outputs(answers, "the module")

    def _watch(self, hints: Sequence[HintPair], samples: "Sequence[Tensor]") -> None:
        from edgekiln.compiler.training.watched import Watched

        regressors = regressors_of(hints, self._module, self._asked[0], samples)
        self.learner = Watched(self._module, [pair.student for pair in hints], regressors)
        self.learner.to(self._device)
        self._asked[0] = Watched(self._asked[0], [pair.teacher for pair in hints])
