"""The options of quantization-aware training, and the training by them."""

from abc import ABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.four_bits import NARROW_BITS
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.compiler.quantization.wide_codes import ACTIVATION_BITS, WIDE_BITS
from edgekiln.compiler.stages.augmentation_options import check_of_epochs
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import kebab

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.qat.train import QatResult
    from edgekiln.compiler.stages.augmentation_options import Check


_BLOCKS = (32, 64, 128)


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

    weight_bits: int = field(
        default=WEIGHT_BITS,
        metadata={
            "help": "Give weights 8 bits; or 4, which take half the memory; or 7, which x86 "
            "without VNNI multiplies faster. A note then holds the accuracy against that of 8."
        },
    )

    weight_block: int = field(
        default=0,
        metadata={
            "help": "Give so many weights of 4 bits of an output, 32, 64 or 128, a factor of their "
            "own, in dense layers and 1×1 convolutions; 0 gives none."
        },
    )

    embedding_bits: int = field(
        default=WEIGHT_BITS,
        metadata={
            "help": "Give embeddings 8 bits a value, or 4, with a scale a row, which halves them; "
            "a note then holds the accuracy against that of 8."
        },
    )

    activation_bits: int = field(
        default=ACTIVATION_BITS,
        metadata={
            "help": "Give activations 8 bits, or 16, which take about twice the time; a note then "
            "holds the accuracy against that of 8."
        },
    )

    def __post_init__(self) -> None:
        widths = (NARROW_BITS, WEIGHT_BITS)
        trains = self.qat_epochs > 0
        checks: tuple[Check, ...] = (
            ("weight_bits", self.weight_bits in (NARROW_BITS, 7, WEIGHT_BITS), "give 8, 7 or 4"),
            ("weight_block", self.weight_block in (0, *_BLOCKS), "give 32, 64, 128, or 0 (none)"),
            (
                "weight_block",
                not self.weight_block or self.weight_bits == NARROW_BITS,
                "add weight-bits = 4, of which blocks are",
            ),
            (
                "weight_block",
                not self.weight_block or not trains,
                "leave out qat-epochs: weights in blocks are not trained",
            ),
            ("embedding_bits", self.embedding_bits in widths, "give 8, or 4"),
            (
                "embedding_bits",
                self.embedding_bits == WEIGHT_BITS or not trains,
                "leave out qat-epochs: rows of 4 bits are not trained",
            ),
            (
                "activation_bits",
                self.activation_bits in (ACTIVATION_BITS, WIDE_BITS),
                "give 8, or 16",
            ),
            (
                "activation_bits",
                self.activation_bits == ACTIVATION_BITS or not trains,
                "leave out qat-epochs: activations of 16 bits are not trained",
            ),
            check_of_epochs("qat_epochs", self.qat_epochs, 0, "give 0 (none) or more"),
            ("qat_batch", self.qat_batch >= 1, "give 1 or more"),
            ("qat_learning_rate", self.qat_learning_rate > 0, "give a positive number"),
            ("qat_alpha", 0 <= self.qat_alpha <= 1, "give a share from 0 to 1"),
            ("qat_shift", self.qat_shift >= 0, "give 0 (none) or more pixels"),
        )
        for name, valid, hint in checks:
            if not valid:
                raise ConfigError(f"{self.name}: {kebab(name)} = {getattr(self, name)}", hint=hint)

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
            weight_bits=self.weight_bits,
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
