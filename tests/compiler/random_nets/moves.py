"""Random operators that pool, join, cut and move values."""

import math
from typing import Any

from tests.compiler.random_nets.draws import MOST, Draws


class Moves(Draws):
    """Each method adds an operator, or says that there is nothing it could read."""

    def pool(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        n, c, *extents = x.shape
        kind, ceil = self.any_of(("MaxPool", "AveragePool")), int(self.yes(0.2))
        kernel = [self.any_of((1, 2, 2, 3, 3, 5)) for _ in range(2)]
        if min(extents) > 3 and self.yes(0.1):
            kernel = extents
        strides, dilations = [self.upto(3), self.upto(3)], [1, 1]
        pads = [self.upto(kernel[i % 2] // 2, 0) if self.yes() else 0 for i in range(4)]
        pads = [min(pad, kernel[i % 2] - 1) for i, pad in enumerate(pads)]
        attrs: dict[str, Any] = {}
        if kind == "AveragePool":
            attrs["count_include_pad"] = int(self.yes(0.4))
        elif self.yes(0.15):
            attrs["dilations"] = dilations = [self.upto(2), self.upto(2)]
        sizes = []
        for i, extent in enumerate(extents):
            room = extent + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1
            if room < 0:
                return False
            size = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
            # A window that begins behind the image is none.
            sizes.append(size - int(ceil and (size - 1) * strides[i] >= extent + pads[i]))
        name = self.model.op(
            kind, x.name, out=self.name(kind), kernel_shape=kernel, strides=strides, pads=pads,
            ceil_mode=ceil, **attrs,
        )  # fmt: skip
        self.add(self.moved(name, (n, c, *sizes), x))
        return True

    def global_pool(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        kind = self.any_of(("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool"))
        name = self.model.op(kind, x.name, out=self.name(kind))
        self.add(self.quantized(name, (*x.shape[:2], 1, 1), self.scale(x.scale / 2)))
        return True

    def concat(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rank = len(x.shape)
        axis = self.any_of((1, 1, 1, 1, *range(rank)))
        around = x.shape[:axis], x.shape[axis + 1 :]
        fitting = [v for v in self.values if (v.shape[:axis], v.shape[axis + 1 :]) == around]
        parts = [x, *(self.any_of(fitting) for _ in range(self.any_of((1, 1, 2, 3))))]
        if self.yes(0.3):
            parts.reverse()
        if self.yes(0.2):
            parts.append(self.constant(x.shape))
        joined = sum(part.shape[axis] for part in parts)
        shape = (*around[0], joined, *around[1])
        if math.prod(shape) > MOST:
            return False
        counted = axis if self.yes() else axis - rank
        names = [part.name for part in parts]
        name = self.model.op("Concat", *names, out=self.name("concat"), axis=counted)
        self.add(self.quantized(name, shape, self.scale(max(part.scale for part in parts))))
        return True

    def resize(self) -> bool:
        x = self.pick(4, 1500)
        if x is None:
            return False
        n, c, h, w = x.shape
        whole = self.yes(0.6)
        sizes = [e * self.upto(3) if whole else self.upto(2 * e + 1) for e in (h, w)]
        if n * c * math.prod(sizes) > MOST:
            return False
        attrs = {"mode": "nearest", "nearest_mode": self.any_of(("floor", "round_prefer_floor"))}
        places = ["asymmetric", "half_pixel"]
        if self.yes(0.4):
            attrs = {"mode": "linear"}
            places += ["align_corners", "pytorch_half_pixel"]
        given = self.model.const([n, c, *sizes], "int64")
        name = self.model.op(
            "Resize", x.name, "", "", given, out=self.name("resize"), **attrs,
            coordinate_transformation_mode=self.any_of(places),
        )  # fmt: skip
        self.add(self.moved(name, (n, c, *sizes), x))
        return True

    def pad(self) -> bool:
        x = self.pick(4, 3000)
        if x is None:
            return False
        m, (n, c, h, w) = self.model, x.shape
        mode = self.any_of(("constant", "constant", "reflect", "edge"))
        most = min(3, h - 1, w - 1) if mode == "reflect" else 3
        top, left, bottom, right = (self.upto(most, 0) for _ in range(4))
        operands = [x.name, m.const([0, 0, top, left, 0, 0, bottom, right], "int64")]
        if mode == "constant" and self.yes():
            operands.append(m.const(self.rng.normal(0, 2), "float32"))
        name = m.op("Pad", *operands, out=self.name("pad"), mode=mode)
        self.add(self.moved(name, (n, c, h + top + bottom, w + left + right), x))
        return True

    def slice(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        axis = self.upto(len(x.shape) - 1)
        extent = x.shape[axis]
        start = self.upto(extent - 1, 0)
        stop, step = self.upto(extent, start + 1), self.any_of((1, 1, 2, 3))
        given = [self.model.const([each], "int64") for each in (start, stop, axis, step)]
        name = self.model.op("Slice", x.name, *given, out=self.name("slice"))
        left = -(-(stop - start) // step)
        self.add(self.moved(name, (*x.shape[:axis], left, *x.shape[axis + 1 :]), x))
        return True

    def split(self) -> bool:
        x = self.pick()
        axis = self.any_of((1, 1, -1))
        if x is None or x.shape[axis] < 2:
            return False
        axis %= len(x.shape)
        at = self.upto(x.shape[axis] - 1)
        sizes, names = (at, x.shape[axis] - at), (self.name("part"), self.name("part"))
        given = self.model.const(sizes, "int64")
        self.model.op("Split", x.name, given, out=names[0], axis=axis)
        self.model.nodes[-1].output.append(names[1])
        for name, size in zip(names, sizes, strict=True):
            self.add(self.moved(name, (*x.shape[:axis], size, *x.shape[axis + 1 :]), x))
        return True

    def transpose(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        perm = [0, *(1 + int(axis) for axis in self.rng.permutation(len(x.shape) - 1))]
        name = self.model.op("Transpose", x.name, out=self.name("transpose"), perm=perm)
        self.add(self.moved(name, tuple(x.shape[axis] for axis in perm), x))
        return True

    def reshape(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        n, size = x.shape[0], math.prod(x.shape[1:])
        divisors = [d for d in range(1, min(size, 64) + 1) if size % d == 0]
        a = self.any_of(divisors)
        b = self.any_of([d for d in divisors if (size // a) % d == 0])
        shapes = ((n, a, size // a), (n, size), (n, a, b, size // a // b))
        shape = self.any_of((*shapes, (n, x.shape[1], size // x.shape[1])))
        given = self.model.const(shape, "int64")
        name = self.model.op("Reshape", x.name, given, out=self.name("reshape"))
        self.add(self.moved(name, shape, x))
        return True

    def shuffle(self) -> bool:
        """The channels of groups in turn."""
        x = self.pick(4)
        if x is None:
            return False
        m, (n, c, h, w) = self.model, x.shape
        g = self.any_of([d for d in range(1, c + 1) if c % d == 0])
        grouped = m.const([n, g, c // g, h, w], "int64")
        name = m.op("Reshape", x.name, grouped, out=self.name("shuffle"))
        name = m.op("Transpose", name, out=self.name("shuffle"), perm=[0, 2, 1, 3, 4])
        name = m.op("Reshape", name, m.const(x.shape, "int64"), out=self.name("shuffle"))
        self.add(self.moved(name, x.shape, x))
        return True

    def blocks(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        m, (n, c, h, w) = self.model, x.shape
        if c % 4 == 0 and self.yes():
            mode = self.any_of(("DCR", "CRD"))
            name = m.op("DepthToSpace", x.name, out=self.name("depth"), blocksize=2, mode=mode)
            self.add(self.moved(name, (n, c // 4, h * 2, w * 2), x))
            return True
        if h % 2 or w % 2:
            return False
        name = m.op("SpaceToDepth", x.name, out=self.name("space"), blocksize=2)
        self.add(self.moved(name, (n, c * 4, h // 2, w // 2), x))
        return True

    def gather(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        axis = self.upto(len(x.shape) - 1)
        indices = self.rng.integers(0, x.shape[axis], self.upto(min(2 * x.shape[axis], 20)))
        shape = (*x.shape[:axis], len(indices), *x.shape[axis + 1 :])
        if math.prod(shape) > MOST:
            return False
        given = self.model.const(indices, "int64")
        name = self.model.op("Gather", x.name, given, out=self.name("gather"), axis=axis)
        self.add(self.moved(name, shape, x))
        return True

    def spread(self) -> bool:
        x = self.pick(4, 200)
        if x is None:
            return False
        n, c, h, w = x.shape
        a, b = self.upto(4), self.upto(3)
        shape = (n, c, h * a, w * b)
        if h == w == 1:
            given = self.model.const(shape, "int64")
            name = self.model.op("Expand", x.name, given, out=self.name("expand"))
        else:
            given = self.model.const([1, 1, a, b], "int64")
            name = self.model.op("Tile", x.name, given, out=self.name("tile"))
        self.add(self.moved(name, shape, x))
        return True
