"""Random operators of one value, or of two of a shape."""

import math

from tests.compiler.random_nets.draws import LIKELY, Draws, Value

_FUNCTIONS = (
    *LIKELY, "HardSigmoid", "Tanh", "Elu", "Gelu", "Abs", "Neg", "Exp", "Softplus", "Mish", "Erf",
    "Selu", "Softsign", "Sqrt", "Celu", "Floor", "Reciprocal", "Sign", "Round", "Log", "Sin",
    "ThresholdedRelu",
)  # fmt: skip
_WITH_ALPHA = ("LeakyRelu", "Elu", "ThresholdedRelu", "Celu")
# Of those whose results have a size of their own.
_SCALES = {
    "Sigmoid": 1 / 255, "HardSigmoid": 1 / 255, "Tanh": 1 / 127, "Erf": 1 / 127, "Exp": 0.1,
    "Reciprocal": 0.1,
}  # fmt: skip


class Functions(Draws):
    """Each method adds an operator, or says that there is nothing it could read."""

    def activation(self, kind: str, x: str) -> str:
        m, out = self.model, self.name(kind)
        if kind == "Clip":
            low, high = (0.0, 6.0) if self.yes() else sorted(self.rng.normal(0, 3, 2))
            return m.op("Clip", x, m.const(low, "float32"), m.const(high, "float32"), out=out)
        if kind in _WITH_ALPHA and self.yes():
            return m.op(kind, x, out=out, alpha=float(self.rng.random() + 0.01))
        return m.op(kind, x, out=out)

    def finish(self, name: str, shape: tuple[int, ...], about: float) -> bool:
        """Codes, of an activation now and then."""
        if self.yes(0.4):
            name = self.activation(self.any_of(LIKELY), name)
        self.add(self.quantized(name, shape, self.scale(about)))
        return True

    def function(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        kind = self.any_of(LIKELY if self.yes() else _FUNCTIONS)
        name = self.activation(kind, x.name)
        self.add(self.quantized(name, x.shape, self.scale(_SCALES.get(kind, x.scale))))
        return True

    def binary(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        kind = self.any_of(("Add", "Mul", "Sub", "Div", "Max", "Min"))
        other = self._other(x)
        pair = [x.name, other.name]
        if self.yes(0.3):
            pair.reverse()
        about = max(x.scale, other.scale) * 1.3
        if kind == "Mul":
            about = x.scale * other.scale * 40
        elif kind == "Div":
            about = x.scale / other.scale / 10
        name = self.model.op(kind, *pair, out=self.name(kind))
        return self.finish(name, x.shape, max(about, 1e-5))

    def _other(self, x: Value) -> Value:
        """Of the same shape, a number, or one a channel."""
        match self.any_of(("same", "number", "channel", "constant")):
            case "same":
                return self.any_of([each for each in self.values if each.shape == x.shape])
            case "number":
                return self.constant(())
            case "channel":
                axis = 1 if len(x.shape) == 4 else len(x.shape) - 1
                return self.constant(
                    tuple(extent if i == axis else 1 for i, extent in enumerate(x.shape))
                )
            case _:
                return self.constant(x.shape)

    def prelu(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        slope = self.constant((x.shape[1], 1, 1))
        name = self.model.op("PRelu", x.name, slope.name, out=self.name("prelu"))
        self.add(self.quantized(name, x.shape, self.scale(x.scale)))
        return True

    def softmax(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        axis = self.any_of((-1, -1, -1, 1))
        name = self.model.op("Softmax", x.name, out=self.name("softmax"), axis=axis)
        zero = self.any_of((self.low, self.zero()))
        self.add(self.quantized(name, x.shape, self.any_of((1 / 256, 1 / 255, 0.003)), zero))
        return True

    def layer_norm(self) -> bool:
        x = self.pick(self.any_of((2, 3, 4)))
        if x is None:
            return False
        slopes, offsets = (
            self.model.const(self.rng.normal(mean, 0.3, x.shape[-1]), "float32") for mean in (1, 0)
        )
        name = self.model.op(
            "LayerNormalization", x.name, slopes, offsets, out=self.name("norm"), axis=-1
        )
        self.add(self.quantized(name, x.shape, self.scale(0.03)))
        return True

    def reduce(self) -> bool:
        x = self.pick(self.any_of((3, 4)))
        if x is None:
            return False
        rank, keep = len(x.shape), int(self.yes())
        kind = self.any_of(("ReduceMean",) * 3 + ("ReduceMax", "ReduceSum", "ReduceMin"))
        axes = self.any_of(([rank - 1], [1], [2, 3] if rank == 4 else [1]))
        given = self.model.const(axes, "int64")
        name = self.model.op(kind, x.name, given, out=self.name(kind), keepdims=keep)
        shape = tuple(1 if i in axes else e for i, e in enumerate(x.shape) if keep or i not in axes)
        about = x.scale * (math.sqrt(x.shape[1]) if kind == "ReduceSum" else 1)
        self.add(self.quantized(name, shape, self.scale(about)))
        return True

    def arg(self) -> bool:
        """An end: the place of the largest or the smallest."""
        x = self.pick()
        if x is None or self.yes(0.6):
            return False
        kind, axis = self.any_of(("ArgMax", "ArgMax", "ArgMin")), self.any_of((1, len(x.shape) - 1))
        name = self.model.op(kind, x.name, out=self.name(kind), axis=axis, keepdims=int(self.yes()))
        self.ends.append(name)
        return True
