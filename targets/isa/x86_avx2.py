"""x86 with AVX2 and no VNNI: words in registers of 256 bits."""

from edgekiln.targets.isa.x86_words import WordMicroKernel, WordWidening

AVX2 = WordMicroKernel(
    name="x86_avx2",
    activation="uint8",
    lanes=(32, 16, 8, 4),
    register_lanes=8,
    registers=16,
    weight_registers=2,  # even and odd bytes as words
    scratch_registers=3,
    dot_latency=2,  # only the final vpaddd's depend on each other
    dots_per_cycle=1.0,  # two vpmaddwd
    # What splitting a pixel's word, and a register of weights, takes of it: measured on Zen 4.
    operand_dots=0.4,
    weight_dots=0.7,
    widening=WordWidening(cycles=0.1, elements=16, scratch_bytes=32 << 10, unrolled=96),
)
