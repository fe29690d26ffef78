"""The stages by name. Importable without any of them: `edgekiln --help` reads this table."""

from collections.abc import Mapping

# The chain, in its order: name → "module:class". A new stage is one file and a line in both tables.
STAGES: Mapping[str, str] = {
    "distill": "edgekiln.compiler.stages.distill:DistillStage",
    "prune": "edgekiln.compiler.stages.prune:PruneStage",
    "export": "edgekiln.compiler.stages.export:ExportStage",
    "quantize": "edgekiln.compiler.stages.quantize:QuantizeStage",
    "attach": "edgekiln.compiler.stages.attach:AttachStage",
    "compile": "edgekiln.compiler.stages.compile:CompileStage",
    "package": "edgekiln.compiler.stages.package:PackageStage",
}
# What the command of each says it does.
SUMMARIES: Mapping[str, str] = {
    "distill": "Train a module, with a teacher or without.",
    "prune": "Make a module smaller by cutting whole channels.",
    "export": "Turn a module into float ONNX.",
    "quantize": "Turn float ONNX into a QDQ int8 model.",
    "attach": "Put preprocessing and postprocessing into an ONNX model.",
    "compile": "Turn a QDQ int8 model into the program of one target.",
    "package": "Pack a program into a bundle.",
}
SKIPPABLE = ("distill", "prune")  # they give what they take
ASKED_FOR = ("attach",)  # a build has them where its recipe says what they are to do
