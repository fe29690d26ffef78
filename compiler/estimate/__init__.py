"""What a program would cost on a chip that is not here: executed blocks × LLVM's pipeline models.

    estimate.program(Path("dist/resnet8-rpi5.ekb"))     every layer of a bundle
    estimate.functions([(kernel.func, kernel.work)], target)   kernels, e.g. a tuner's candidates

The instructions are counted exactly; their cycles are those of `llvm-mca`, which runs each basic
block in a steady state and knows neither caches nor memory nor branch misses. Good for comparing
programs on one chip; not a latency.
"""
