"""Instruction sets, one file each. Nothing registers itself: a new one is a line in this table."""

from importlib import import_module

from edgekiln.targets.isa.base import MicroKernel

# name → "module:attribute"
MICROKERNELS: dict[str, str] = {
    "generic_u8": "edgekiln.targets.isa.generic:GENERIC_U8",
    "generic_s8": "edgekiln.targets.isa.generic:GENERIC_S8",
    "arm_neon": "edgekiln.targets.isa.arm_neon:ARM_NEON",
    "arm_dotprod": "edgekiln.targets.isa.arm_dotprod:ARM_DOTPROD",
    "arm_i8mm": "edgekiln.targets.isa.arm_i8mm:ARM_I8MM",
    "arm_dsp": "edgekiln.targets.isa.arm_dsp:ARM_DSP",
    "arm_mve": "edgekiln.targets.isa.arm_mve:ARM_MVE",
    "armv7_neon": "edgekiln.targets.isa.arm_neon:ARMV7_NEON",
    "x86_avx2": "edgekiln.targets.isa.x86_avx2:AVX2",
    "x86_avx_vnni": "edgekiln.targets.isa.x86_vnni:AVX_VNNI",
    "x86_vnni": "edgekiln.targets.isa.x86_vnni:AVX512_VNNI",
    "x86_amx": "edgekiln.targets.isa.x86_amx:X86_AMX",
}


def load(name: str) -> MicroKernel:
    """The micro-kernel a profile's `isa` names.

    Raises:
        KeyError: no such name.
    """
    module, attribute = MICROKERNELS[name].split(":")
    microkernel = getattr(import_module(module), attribute)
    assert isinstance(microkernel, MicroKernel)
    return microkernel
