"""The options of quantization-aware training, and the training by them."""

from abc import ABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.qat.train import QatResult


@dataclass(frozen=True, kw_only=True)
class QuantizedTraining(Stage, ABC):
    """A stage that may train the quantized model that it made."""

    seed: int = field(
        default=0,
        metadata={"help": "Split the data set, and order training samples, by this seed."},
    )
    qat_epochs: int = field(
        default=0,
        metadata={"help": "Train the quantized model for this many epochs; 0 leaves it as it is."},
    )
    qat_learning_rate: float = field(
        default=1e-3,
        metadata={"help": "Train it with this peak rate; a weight's unit is its channel's range."},
    )
    qat_batch: int = field(default=64, metadata={"help": "Train it on this many samples a step."})
    qat_alpha: float = field(
        default=0.7,
        metadata={"help": "Give the float model this share of the loss, and labels the rest."},
    )
    qat_shift: int = field(
        default=0, metadata={"help": "Shift its training images by up to this many pixels."}
    )
    qat_flip: bool = field(
        default=False,
        metadata={"help": "Mirror half of its training images, by chance."},
    )

    def __post_init__(self) -> None:
        if self.qat_epochs < 0 or self.qat_batch < 1 or not self.qat_learning_rate > 0:
            raise ConfigError(
                f"{self.name}: qat-epochs = {self.qat_epochs}, qat-batch = {self.qat_batch}, "
                f"qat-learning-rate = {self.qat_learning_rate:g}",
                hint="epochs are 0 (none) or more, the batch at least 1, the rate above 0",
            )
        if not 0.0 <= self.qat_alpha <= 1.0 or self.qat_shift < 0:
            raise ConfigError(
                f"{self.name}: qat-alpha = {self.qat_alpha:g}, qat-shift = {self.qat_shift}",
                hint="alpha is a share from 0 to 1, the shift 0 (none) or more pixels",
            )

    def trained(
        self,
        quantized: "onnx.ModelProto",
        model: "onnx.ModelProto",
        feed: "Feed",
        ctx: StageContext,
    ) -> "QatResult":
        """The better of `quantized`, made of the float `model`, and what comes out of training."""
        from edgekiln.compiler.qat.train import QatOptions, train_quantized

        options = QatOptions(
            epochs=self.qat_epochs,
            learning_rate=self.qat_learning_rate,
            batch_size=self.qat_batch,
            alpha=self.qat_alpha,
            shift=self.qat_shift,
            flip=self.qat_flip,
            seed=self.seed,
        )
        result = train_quantized(
            quantized,
            model,
            feed,
            options,
            # A stage that was killed goes on from there, for the scratch directory is its key's.
            checkpoint_path=ctx.scratch / "qat.ckpt",
            advance=ctx.advance,
            logs=ctx.logs / "qat" if ctx.logs else None,
        )
        ctx.notes.append(result.note)
        return result
