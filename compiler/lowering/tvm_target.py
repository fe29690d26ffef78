"""A profile's `[tvm]` table as TVM's target. Users write such tables, and LLVM, where it does not
know a processor, takes another one, or ends the process.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from tvm.target import Target


def target_of(tvm_target: Mapping[str, object]) -> "Target":
    """TVM's target.

    Raises:
        ConfigError: TVM refuses the table, or LLVM has no such processor or feature of one.
    """
    from tvm.target import Target, codegen

    cpu, triple = (str(tvm_target.get(key, "")) for key in ("mcpu", "mtriple"))
    _check_abi(triple)
    if "mcpu" in tvm_target and triple and not codegen.llvm_is_valid_cpu(cpu, triple):
        raise ConfigError(
            f"[tvm] of the target: LLVM knows no processor mcpu = {cpu!r} of {triple!r}",
            f"`llc -mtriple={triple} -mcpu=help` lists them",
        )
    try:
        target = Target(dict(tvm_target))
        _check_features(tvm_target)
    except (RuntimeError, TypeError, ValueError) as error:
        said = str(error).partition(". Target creation")[0]
        raise ConfigError(
            f"[tvm] of the target: {said}", "it is given to tvm.target.Target as it is"
        ) from error
    return target


def _check_abi(triple: str) -> None:
    """TVM takes a triple's parts by their places: of three, the last is the operating system. Then
    LLVM calls what 32-bit Arm has in libgcc with floats in the wrong registers.
    """
    architecture, *others = triple.split("-")
    if architecture.startswith(("arm", "thumb")) and architecture != "arm64" and len(others) < 3:
        raise ConfigError(
            f"[tvm] of the target: mtriple = {triple!r} names no ABI in its fourth part",
            "write all four: armv7l-unknown-linux-gnueabihf, thumbv7em-unknown-none-gnueabihf",
        )


def _check_features(tvm_target: Mapping[str, object]) -> None:
    """LLVM prints a line about a feature that it does not know, and goes on without it."""
    from tvm.target import Target, codegen

    features = tvm_target.get("mattr", ())
    if not isinstance(features, list | tuple) or tvm_target.get("kind") != "llvm":
        return
    for feature in map(str, features):
        sign, name = feature[:1], feature[1:]
        # What it knows is there when it is switched on, whether it shall be on or off.
        switched_on = Target({**tvm_target, "mattr": [f"+{name}"]})
        if sign not in ("+", "-") or name not in codegen.llvm_get_cpu_features(switched_on):
            raise ConfigError(
                f"[tvm] of the target: LLVM knows no feature mattr = {feature!r}",
                f"`llc -mtriple={tvm_target.get('mtriple', '')} -mattr=help` lists them; "
                "+ switches one on, - off",
            )
