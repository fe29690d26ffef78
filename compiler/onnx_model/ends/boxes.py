"""A detector's numbers become boxes of two corners, and scores.

Sources: SSD (arXiv:1512.02325, section 2.2) for `ssd`; YOLOv3 (arXiv:1804.02767, section 2.1); its
successor's grids in Ultralytics' YOLOv5; YOLOX (arXiv:2107.08430); FCOS (arXiv:1904.01355, eq. 1)
for `distances`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.ends.answers import GivenOutput
from edgekiln.compiler.onnx_model.ends.detector_options import ON_GRIDS, DetectorOptions, priors_of
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import EndStep, Size
from edgekiln.runtime.errors import ConfigError

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ReadBoxes:
    """Tensors: boxes (N, count, 4): left, top, right, bottom; scores (N, classes, count)."""

    boxes: str
    scores: str
    count: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """(N, count, width) numbers under way."""

    name: str
    count: int
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """The cell's column and row, its stride, and an anchor's sides, of each box of a grid."""

    places: Array  # (count, 2)
    strides: Array  # (count, 2): the same twice
    sides: Array  # (count, 2)


@dataclass(frozen=True, kw_only=True)
class BoxReader:
    """Writes the way from a network's outputs to boxes and scores.

    Args:
        size: of the network's picture; None: it takes none.
        labels: how many classes the model names; 0: it does not say.
    """

    end: GraphEnd
    step: EndStep
    options: DetectorOptions
    size: Size | None
    labels: int

    def read(self, outputs: Sequence[GivenOutput]) -> ReadBoxes:
        """Raises ConfigError: the outputs are not those of such a detector."""
        boxes, others = self._parted(outputs)
        scores = self._scores(others)
        return ReadBoxes(
            boxes=self._corners(boxes),
            scores=self.end.op("Transpose", scores.name, what="scores", perm=(0, 2, 1)),
            count=boxes.count,
            classes=scores.width,
        )

    def _parted(self, outputs: Sequence[GivenOutput]) -> tuple[_Numbers, _Numbers]:
        """The four numbers of each box, and those that are not of the box."""
        ranks = [len(output.shape) for output in outputs]
        if ranks[0] == 4 and self.options.boxes in ON_GRIDS:
            return self._split(self._of_grids(outputs))
        if ranks[:2] == [3, 3] and 4 in outputs[0].shape[1:] + outputs[1].shape[1:]:
            pair = outputs[:2]
            if 4 not in pair[0].shape[1:] or (
                4 in pair[1].shape[1:] and "box" in pair[1].name and "box" not in pair[0].name
            ):
                pair = pair[::-1]
            rows = max(int(extent) for extent in pair[0].shape[1:])
            return self._rows(pair[0], rows), self._rows(pair[1], rows)
        if ranks[0] == 3:
            return self._split(self._rows(outputs[0], self._rows_in(outputs[0])))
        raise self._unknown(outputs[0])

    def _rows_in(self, output: GivenOutput) -> int:
        """How many boxes an output has: what is not as much as numbers of a box, else the larger
        one.
        """
        options, extents = self.options, [int(extent) for extent in output.shape[1:]]
        width = 4 + options.has_object + self.labels
        known = [e for e in extents if e in (width, width + (options.background is not None))]
        if self.labels and len(known) == 1:
            return extents[1 - extents.index(known[0])]
        return max(extents)

    def _rows(self, output: GivenOutput, count: int) -> _Numbers:
        """(N, count, width), whichever way the output has it."""
        if count not in output.shape[1:]:
            raise self._unknown(output)
        name, (first, second) = output.name, (int(extent) for extent in output.shape[1:])
        if first == count:
            return _Numbers(name=name, count=count, width=second)
        name = self.end.op("Transpose", name, what="rows", perm=(0, 2, 1))
        return _Numbers(name=name, count=count, width=first)

    def _of_grids(self, outputs: Sequence[GivenOutput]) -> _Numbers:
        """The outputs (N, anchors · width, H, W) of all grids as rows, those of small strides
        first, anchor by anchor.
        """
        each = self._anchors_a_cell()
        rows, counts, widths = [], [], set()
        for stride in sorted(self.options.strides):
            output = self._of_grid(outputs, stride)
            channels, height, width = (int(extent) for extent in output.shape[1:])
            if channels % each:
                raise self._unknown(output)
            numbers = channels // each
            apart = self.end.constant(np.array([0, each, numbers, height * width]), "apart")
            joined = self.end.constant(np.array([0, each * height * width, numbers]), "rows")
            name = self.end.op("Reshape", output.name, apart, what="cells")
            name = self.end.op("Transpose", name, what="cells", perm=(0, 1, 3, 2))
            rows.append(self.end.op("Reshape", name, joined, what="cells"))
            counts.append(each * height * width)
            widths.add(numbers)
        if len(widths) != 1:
            raise self._unknown(outputs[0])
        name = self.end.op("Concat", *rows, what="grids", axis=1) if len(rows) > 1 else rows[0]
        return _Numbers(name=name, count=sum(counts), width=widths.pop())

    def _of_grid(self, outputs: Sequence[GivenOutput], stride: int) -> GivenOutput:
        """The output that is a grid, wherever the network gives it."""
        grid = self._grid(stride)
        found = [each for each in outputs if len(each.shape) == 4 and each.shape[2:] == grid]
        if len(found) != 1:
            listed = ", ".join(f"{output.name} {list(output.shape)}" for output in outputs)
            raise self.step.wrong(
                f"of {listed}, {len(found)} are a grid of {grid[0]}×{grid[1]} cells, as stride "
                f"{stride} has it",
                hint="give a stride for each grid, those that the network was trained with",
            )
        return found[0]

    def _split(self, rows: _Numbers) -> tuple[_Numbers, _Numbers]:
        return self._part(rows, 0, 4), self._part(rows, 4, rows.width)

    def _part(self, rows: _Numbers, first: int, last: int) -> _Numbers:
        if not 0 <= first < last <= rows.width:
            raise self.step.wrong(
                f"a box has {rows.width} numbers in all",
                hint="four are the box, and there is a score for each class",
            )
        if (first, last) == (0, rows.width):
            return rows
        bounds = [
            self.end.constant(np.array([n]), what)
            for n, what in ((first, "first"), (last, "last"), (2, "axis"))
        ]
        name = self.end.op("Slice", rows.name, *bounds, what="part")
        return _Numbers(name=name, count=rows.count, width=last - first)

    def _scores(self, given: _Numbers) -> _Numbers:
        """One for each class, from which what is nothing is left out."""
        options, sure = self.options, None
        if options.has_object:
            sure, given = self._part(given, 0, 1), self._part(given, 1, given.width)
            if options.scores != "given":
                sure = replace(sure, name=self.end.op("Sigmoid", sure.name))
        if options.scores == "softmax":
            given = replace(given, name=self.end.op("Softmax", given.name, axis=2))
        elif options.scores == "sigmoid":
            given = replace(given, name=self.end.op("Sigmoid", given.name))
        if options.background is not None:
            if options.background not in (0, given.width - 1):
                raise self.step.wrong(
                    f"background={options.background} of {given.width} classes",
                    hint="it is the first or the last class, or there is none: background=-1",
                )
            first = options.background == 0
            given = self._part(given, int(first), given.width - (not first))
        named = given.width + (options.background is not None)
        if self.labels not in (0, given.width, named):
            raise self.step.wrong(
                f"the network gives {given.width} scores, and the model has {self.labels} classes",
                hint="say whether there is a number for all of them, object=true, or a class that "
                "is nothing, background=0",
            )
        if sure is None:
            return given
        # One number for each class: kernels multiply what has one shape.
        width = self.end.constant(np.array([1, 1, given.width]), "classes")
        every = self.end.op("Tile", sure.name, width, what="object")
        name = self.end.op("Mul", given.name, every, what="scores")
        return _Numbers(name=name, count=given.count, width=given.width)

    def _corners(self, given: _Numbers) -> str:
        options = self.options
        if given.width != 4:
            raise self.step.wrong(f"a box has {given.width} numbers", hint="it takes four")
        if options.boxes == "corners":
            return given.name
        first, second = (self._part(given, at, at + 2).name for at in (0, 2))
        if options.boxes == "centers":
            return self._around(first, second)
        if options.priors is not None:
            priors = priors_of(self.step, options.priors, given.count)
            by_place, by_size = options.variances
            x = self._computed("Mul", first, by_place * priors[:, 2:])
            sides = self.end.op("Exp", self._computed("Mul", second, np.array(by_size)))
            center = self._computed("Add", x, priors[:, :2])
            return self._around(center, self._computed("Mul", sides, priors[:, 2:]))
        return self._on_grid(self._cells(given.count), first, second)

    def _on_grid(self, cells: _Cells, first: str, second: str) -> str:
        match self.options.boxes:
            case "distances":
                middles = (cells.places + 0.5) * cells.strides
                near = self._computed("Mul", first, -cells.strides)
                far = self._computed("Mul", second, cells.strides)
                ends = [self._computed("Add", each, middles) for each in (near, far)]
                return self.end.op("Concat", *ends, what="boxes", axis=2)
            case "yolox":
                sides = self._computed("Mul", self.end.op("Exp", second), cells.strides)
                center = self._computed("Add", first, cells.places)
            case "yolov3":
                sides = self._computed("Mul", self.end.op("Exp", second), cells.sides)
                center = self._computed("Add", self.end.op("Sigmoid", first), cells.places)
            case _:
                # (2 σ)² · anchor, and 2 σ - ½ around the cell.
                twice = [
                    self._computed("Mul", self.end.op("Sigmoid", each), np.array(2.0))
                    for each in (first, second)
                ]
                square = self.end.op("Mul", twice[1], twice[1], what="square")
                sides = self._computed("Mul", square, cells.sides)
                center = self._computed("Add", twice[0], cells.places - 0.5)
        return self._around(self._computed("Mul", center, cells.strides), sides)

    def _computed(self, op: str, x: str, by: "NDArray[np.floating]") -> str:
        array = np.asarray(by, np.float32)
        numbers = self.end.constant(array[None] if array.ndim else array, f"{op.lower()}.numbers")
        return self.end.op(op, x, numbers)

    def _around(self, center: str, sides: str) -> str:
        half = self._computed("Mul", sides, np.array(0.5))
        ends = [self.end.op(op, center, half) for op in ("Sub", "Add")]
        return self.end.op("Concat", *ends, what="boxes", axis=2)

    def _anchors_a_cell(self) -> int:
        return len(self.options.anchors) // len(self.options.strides) or 1

    def _grid(self, stride: int) -> Size:
        if self.size is None:
            raise self.step.wrong(
                "the network takes no picture, so nothing says how large the grids are",
                hint="boxes on grids are those of a network whose first input is a picture",
            )
        return -(-self.size[0] // stride), -(-self.size[1] // stride)

    def _cells(self, count: int) -> _Cells:
        """The cells of all grids, in the order of the boxes."""
        options, each = self.options, self._anchors_a_cell()
        places, strides, sides = [], [], []
        order = sorted(range(len(options.strides)), key=options.strides.__getitem__)
        for index in order:
            stride = options.strides[index]
            height, width = self._grid(stride)
            rows, columns = np.divmod(np.arange(height * width), width)
            for anchor in options.anchors[index * each : (index + 1) * each] or ((0.0, 0.0),):
                places.append(np.stack([columns, rows], axis=1))
                strides.append(np.full((height * width, 2), stride))
                sides.append(np.broadcast_to(anchor, (height * width, 2)))
        cells = _Cells(
            places=np.concatenate(places).astype(np.float32),
            strides=np.concatenate(strides).astype(np.float32),
            sides=np.concatenate(sides).astype(np.float32),
        )
        if len(cells.places) != count:
            raise self.step.wrong(
                f"the network gives {count} boxes, the grids of these strides and anchors have "
                f"{len(cells.places)}",
                hint="give the strides, and the anchors, that it was trained with",
            )
        return cells

    def _unknown(self, output: GivenOutput) -> ConfigError:
        return self.step.wrong(
            f"output {output.name!r} of shape {list(output.shape)} holds no such boxes",
            hint="it takes (N, boxes, 4 + classes) in either order, boxes and scores as two "
            "outputs, or the grids of all strides: docs/howto/detector.md",
        )
