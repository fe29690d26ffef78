"""What a model with other numbers of bits is worth, beside the same in 8."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekiln.compiler.quantization.narrow_tables import has_narrow_tables
from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.compiler.quantization.wide_codes import ACTIVATION_BITS, has_wide_codes

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.quantization.judge import Judge
    from edgekiln.compiler.quantization.scheme import Scheme


def beside_all_bytes(scheme: "Scheme", made: "onnx.ModelProto", judge: "Judge") -> Iterator[str]:
    """What weights or embeddings of fewer bits take from the model, `made` by that scheme, and what
    activations of more give it.
    """
    chosen = {
        "weight": scheme.weight_bits,
        "embedding": scheme.embedding_bits,
        "activation": scheme.activation_bits,
    }
    others = {name: bits for name, bits in chosen.items() if bits != WEIGHT_BITS}
    if "embedding" in others and not has_narrow_tables(made):
        yield (
            f"no embeddings of {others.pop('embedding')} bits: no Gather takes rows of a constant "
            "matrix by numbers of the call"
        )
    if "activation" in others and not has_wide_codes(made):
        yield (
            f"no activations of {others.pop('activation')} bits: of those that there are the sums "
            "could leave 32 bits, or a recurrent layer reads them"
        )
    if not others:
        return
    whole = replace(
        scheme, weight_bits=WEIGHT_BITS, embedding_bits=WEIGHT_BITS, activation_bits=ACTIVATION_BITS
    )
    found = []
    for each, bits in ((scheme, " and ".join(map(str, others.values()))), (whole, WEIGHT_BITS)):
        verdict = judge.verdict(each.quantized())
        scores = [
            f"{each.label} {each.metric.shown(each.value)}"
            for each in verdict.scores
            if not each.metric.of_all or judge.holds_all
        ]
        found.append(f"{bits} bits {', '.join([*scores, f'SQNR {verdict.sqnr_db:.1f} dB'])}")
    what = " and ".join(f"{name}s" for name in others)
    yield f"{what} of {'; of '.join(found)}, on {judge.samples:,} validation samples"
