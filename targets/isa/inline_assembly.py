"""Loops over k in a chip's assembly, as functions of LLVM's text."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekiln.targets.isa.expressions import Assembly

Lines = list[str]  # of assembly


@dataclass(frozen=True, kw_only=True)
class SumLoop:
    """Instructions that add products to sums, and the registers that they take.

    Args:
        name: with all that the text depends on: of functions of one name LLVM keeps one.
        sums: registers of the results.
        given: those of them that hold what sums start from.
        addresses: registers of both addresses, which the instructions move on.
        spoiled: other registers.
        ends: constraints of further results, of type float, which are `$0` and so on.
    """

    name: str
    lines: Lines
    sums: Sequence[str]
    given: Sequence[str]
    addresses: Sequence[str]
    spoiled: Sequence[str]
    ends: Sequence[str] = ()

    def function(self) -> Assembly:
        """The assembly as a function of both addresses and of where each sum lies."""
        sums, ends, text = self.sums, self.ends, "\\0A".join(self.lines)
        result = "{" + ", ".join(["float"] * len(ends) + ["i32"] * len(sums) + ["ptr"] * 2) + "}"
        kept = [*sums, *self.addresses]
        operand = {name: number for number, name in enumerate(kept, len(ends))}
        constraints = [*ends, *(f"=&{{{name}}}" for name in kept)]
        constraints += [str(operand[name]) for name in (*self.given, *self.addresses)]
        # It only reads memory, but without "memory" it would be moved before what writes there.
        constraints += [f"~{{{name}}}" for name in (*self.spoiled, "cc", "memory")]
        operands = ", ".join([*(f"i32 %{each}" for each in self.given), "ptr %x", "ptr %w"])
        places = ", ".join(["ptr %x", "ptr %w", *(f"ptr %to_{each}" for each in sums)])
        call = f'call {result} asm "{text}", "{",".join(constraints)}"({operands})'
        lines = [
            # Inlined, so that sums stay in registers; but not several times by unrolled loops. What
            # the loops around it read can be read before them, for it comes to its end.
            f"define linkonce_odr hidden i32 @{self.name}({places}) alwaysinline {{",
            *(f"  %{each} = load i32, ptr %to_{each}" for each in self.given),
            f"  %all = {call} nounwind willreturn noduplicate memory(read)",
            *(f"  %new_{each} = extractvalue {result} %all, {operand[each]}" for each in sums),
            *(f"  store i32 %new_{each}, ptr %to_{each}" for each in sums),
            "  ret i32 0",
            "}",
        ]
        return Assembly(name=self.name, text="\n".join(lines) + "\n")
