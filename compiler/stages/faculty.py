"""The teachers that a stage's options name, found, trained where they know nothing, and scored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline import key_checks
from edgekiln.compiler.pipeline.factory_code import factory_code
from edgekiln.compiler.pipeline.stage import Advance, StageContext
from edgekiln.compiler.stages.teaching_options import AVERAGE, SELF, TeachingStage
from edgekiln.compiler.stages.training_options import FRESH_RATE
from edgekiln.compiler.stages.uses_module import named_model, used_functions
from edgekiln.compiler.training.classroom import Teaching
from edgekiln.compiler.training.loss import Objective
from edgekiln.runtime.codec import digest, encode

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.compiler.training.answer_views import AnswerViews
    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.compiler.training.score import SplitScore


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network that teaches; `code` says what it is besides its weights, for keys."""

    name: str
    network: "nn.Module"
    code: str
    score: "SplitScore"  # on the validation split


@dataclass(frozen=True, kw_only=True)
class Faculty:
    """All teachers of a training."""

    teachers: tuple[Teacher, ...] = ()
    teaching: Teaching

    @property
    def metrics(self) -> dict[str, float]:
        """The best teacher's numbers, for the report."""
        best = self._best()
        return best.metrics("teacher_val") if best else {}

    @property
    def marks(self) -> dict[str, float]:
        """The best teacher's numbers by the names of training curves."""
        if (best := self._best()) is None:
            return {}
        return {"loss/val": best.loss, **{f"{m.key}/val": m.value for m in best.measured}}

    def _best(self) -> "SplitScore | None":
        scores = [teacher.score for teacher in self.teachers]
        return max(scores, key=lambda score: score.value) if scores else None


def hired(
    stage: TeachingStage,
    student: "TrainingContext",
    ctx: StageContext,
    *,
    former: "nn.Module | None",
    default: tuple[str, ...] = (),
) -> Faculty:
    """The teachers that `stage` names, ready to teach `student`.

    Args:
        former: the student as it was before, where its weights were trained; None: they were not,
            and a copy of it is trained to be its own teacher (Furlanello et al.: born-again
            networks, arXiv:1805.04770).
        default: the teachers where the user names none.

    Raises:
        InputError: a teacher cannot be read, or does not fit the data.
        ConfigError: hints name layers that are not there, or do not fit.
    """
    from edgekiln.compiler.training.hints import pair_layers

    names = stage.teacher or default
    office = _Office(stage=stage, student=student, ctx=ctx, former=former)
    teachers = tuple(
        office.teacher(name, place) for place, name in enumerate(names) if name != AVERAGE
    )
    networks = [teacher.network for teacher in teachers]
    hints = (
        pair_layers(student.module, networks[0], student.samples, stage.hint)
        if stage.hint and networks
        else ()
    )
    teaching = Teaching(networks=networks, average=AVERAGE in names, hints=hints)
    if stage.teacher_views and teachers:
        teaching = replace(teaching, views=office.views(teachers))
    return Faculty(teachers=teachers, teaching=teaching)


@dataclass(frozen=True, kw_only=True)
class _Office:
    """Finds teachers."""

    stage: TeachingStage
    student: "TrainingContext"
    ctx: StageContext
    former: "nn.Module | None"

    def teacher(self, name: str, place: int) -> Teacher:
        from edgekiln.compiler.training.assess import validation_score

        network, code = self._found(name, place)
        score = validation_score(network, self.student, self.stage.batch_size)
        return Teacher(name=name, network=network, code=code, score=score)

    def views(self, teachers: tuple[Teacher, ...]) -> "AnswerViews":
        from edgekiln.compiler.training.answer_views import AnswerViews, identity

        return AnswerViews(
            # Where there is no store the answers serve this run alone.
            root=self.ctx.objects or self.ctx.scratch,
            count=self.stage.teacher_views,
            teachers=tuple(identity(each.network, each.code) for each in teachers),
            augment=digest(used_functions(augment=self.stage.augment)),
            task=self.student.data.task,
        )

    def _found(self, name: str, place: int) -> "tuple[nn.Module, str]":
        from edgekiln.compiler.training import teacher as teachers

        meta = self.student.meta
        # A file holds trained weights already.
        if Path(name).suffix == ".pt":
            network = teachers.from_artifact(Path(name), self.student, self.ctx.allow)
            code = f"{named_model(name)} {encode(meta.preprocessing)}"
            key_checks.was_read(Path(name))
            return network, code
        if name == SELF:
            code = f"{factory_code(meta.factory)} {digest(meta.kwargs)}"
            if self.former is not None:
                return teachers.frozen_copy(self.former), code
            copy = teachers.trainable_copy(self.student.module)
            return self._trained(name, copy, place), code
        path = self.ctx.scratch / f"teacher-{place}-initial.pt"
        network = teachers.from_name(name, self.student, path, self.stage.seed)
        # A function of the user's may load weights that are trained; one of the zoo never does.
        if ":" not in name:
            network = self._trained(name, network, place)
        return network, f"{name} {named_model(name)}"

    def _trained(self, name: str, network: "nn.Module", place: int) -> "nn.Module":
        from edgekiln.compiler.pipeline.curve import curves_of
        from edgekiln.compiler.training.first_weights import initialize_by_samples
        from edgekiln.compiler.training.fit import fit

        stage, student, ctx = self.stage, self.student, self.ctx
        if not stage.teacher_epochs:
            return network
        initialize_by_samples(network, student.data)
        result = fit(
            network,
            student.data,
            # From labels alone: nobody teaches the teacher.
            Objective(task=student.data.task, label_smoothing=stage.label_smoothing),
            stage.fit_options(
                epochs=stage.teacher_epochs, default_rate=FRESH_RATE, seed=stage.seed
            ),
            checkpoint_path=ctx.scratch / f"teacher-{place}.ckpt",
            advance=named_advance("teacher", ctx.advance),
            logs=ctx.logs / f"teacher-{place}" if ctx.logs else None,
        )
        ctx.notes.append(f"teacher {name}: val {result.score}")
        ctx.curves.append(curves_of(f"teacher {name}", result.history, {}))
        return network


def named_advance(who: str, advance: Advance) -> Advance:
    """Progress whose text begins with `who`."""
    return lambda done, total, text: advance(done, total, f"{who} {text}")
