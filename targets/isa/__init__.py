"""Instruction sets, one file each. Nothing registers itself: a new one is a line in this table."""

from importlib import import_module

from edgekiln.targets.isa.base import MicroKernel

# name → "module:attribute"
MICROKERNELS: dict[str, str] = {
    "generic_u8": "edgekiln.targets.isa.generic:GENERIC_U8",
    "generic_s8": "edgekiln.targets.isa.generic:GENERIC_S8",
    "arm_neon": "edgekiln.targets.isa.arm_neon:ARM_NEON",
    "arm_dotprod": "edgekiln.targets.isa.arm_dotprod:ARM_DOTPROD",
    "arm_dotprod_a55": "edgekiln.targets.isa.arm_dotprod:ARM_DOTPROD_A55",
    "arm_i8mm": "edgekiln.targets.isa.arm_i8mm:ARM_I8MM",
    "arm_dsp": "edgekiln.targets.isa.arm_dsp:ARM_DSP",
    "arm_dsp_m7": "edgekiln.targets.isa.arm_dsp:ARM_DSP_M7",
    "arm_mve": "edgekiln.targets.isa.arm_mve:ARM_MVE",
    "arm_v6m": "edgekiln.targets.isa.arm_v6m:ARM_V6M",
    "armv7_neon": "edgekiln.targets.isa.arm_neon:ARMV7_NEON",
    "riscv_rvv": "edgekiln.targets.isa.riscv_rvv:RVV",
    "x86_sse41": "edgekiln.targets.isa.x86_sse41:SSE41",
    "x86_avx2": "edgekiln.targets.isa.x86_avx2:AVX2",
    "x86_avx_vnni": "edgekiln.targets.isa.x86_vnni:AVX_VNNI",
    "x86_vnni": "edgekiln.targets.isa.x86_vnni:AVX512_VNNI",
    "x86_vbmi": "edgekiln.targets.isa.x86_vnni:AVX512_VBMI",
    "x86_zen5": "edgekiln.targets.isa.x86_vnni:ZEN5",
    "x86_amx": "edgekiln.targets.isa.x86_amx:X86_AMX",
    "opencl": "edgekiln.targets.isa.gpu:OPENCL",
    "opencl_f32": "edgekiln.targets.isa.gpu:OPENCL_F32",
    "cuda": "edgekiln.targets.isa.gpu:CUDA",
    "cuda_f32": "edgekiln.targets.isa.gpu:CUDA_F32",
    "generic_f32": "edgekiln.targets.isa.float32:GENERIC",
    "soft_f32": "edgekiln.targets.isa.float32:SOFT",
    "arm_f32": "edgekiln.targets.isa.float32:NEON",
    "armv7_f32": "edgekiln.targets.isa.float32:ARMV7",
    "riscv_rvv_f32": "edgekiln.targets.isa.float32:RVV",
    "x86_sse_f32": "edgekiln.targets.isa.float32:SSE",
    "x86_fma_f32": "edgekiln.targets.isa.float32:AVX2",
    "x86_avx512_f32": "edgekiln.targets.isa.float32:AVX512",
    "opencl_w16": "edgekiln.targets.isa.gpu:OPENCL_W16",
    "cuda_w16": "edgekiln.targets.isa.gpu:CUDA_W16",
    "generic_w16": "edgekiln.targets.isa.words:GENERIC",
    "arm_w16": "edgekiln.targets.isa.words:ARM",
    "arm_dotprod_w16": "edgekiln.targets.isa.words:ARM_DOTPROD_WORDS",
    "arm_dotprod_a55_w16": "edgekiln.targets.isa.words:ARM_A55_WORDS",
    "arm_dsp_w16": "edgekiln.targets.isa.words:ARM_DSP_WORDS",
    "arm_mve_w16": "edgekiln.targets.isa.words:ARM_MVE_WORDS",
    "arm_v6m_w16": "edgekiln.targets.isa.words:ARM_V6M_WORDS",
    "armv7_w16": "edgekiln.targets.isa.words:ARMV7",
    "riscv_rvv_w16": "edgekiln.targets.isa.words:RISCV",
    "x86_sse41_w16": "edgekiln.targets.isa.words:X86_SSE41",
    "x86_avx2_w16": "edgekiln.targets.isa.words:X86_AVX2",
    "x86_avx_vnni_w16": "edgekiln.targets.isa.words:X86_AVX_VNNI",
    "x86_avx512_w16": "edgekiln.targets.isa.words:X86_AVX512",
    "x86_zen5_w16": "edgekiln.targets.isa.words:X86_ZEN5",
}
# The float32 micro-kernel of the same chips.
FLOAT32: dict[str, str] = {
    "generic_u8": "generic_f32",
    "generic_s8": "generic_f32",
    "arm_neon": "arm_f32",
    "arm_dotprod": "arm_f32",
    "arm_dotprod_a55": "arm_f32",
    "arm_i8mm": "arm_f32",
    "arm_dsp": "generic_f32",
    "arm_dsp_m7": "generic_f32",
    "arm_mve": "generic_f32",
    "arm_v6m": "soft_f32",
    "armv7_neon": "armv7_f32",
    "riscv_rvv": "riscv_rvv_f32",
    "x86_sse41": "x86_sse_f32",
    "x86_avx2": "x86_fma_f32",
    "x86_avx_vnni": "x86_fma_f32",
    "x86_vnni": "x86_avx512_f32",
    "x86_vbmi": "x86_avx512_f32",
    "x86_zen5": "x86_avx512_f32",
    "x86_amx": "x86_avx512_f32",
    "opencl": "opencl_f32",
    "cuda": "cuda_f32",
}

# The micro-kernel of the same chips for codes of 16 bits.
WORDS: dict[str, str] = {
    "generic_u8": "generic_w16",
    "generic_s8": "generic_w16",
    "arm_neon": "arm_w16",
    "arm_dotprod": "arm_dotprod_w16",
    "arm_dotprod_a55": "arm_dotprod_a55_w16",
    "arm_i8mm": "arm_dotprod_w16",
    "arm_dsp": "arm_dsp_w16",
    "arm_dsp_m7": "arm_dsp_w16",
    "arm_mve": "arm_mve_w16",
    "arm_v6m": "arm_v6m_w16",
    "armv7_neon": "armv7_w16",
    "riscv_rvv": "riscv_rvv_w16",
    "x86_sse41": "x86_sse41_w16",
    "x86_avx2": "x86_avx2_w16",
    "x86_avx_vnni": "x86_avx_vnni_w16",
    "x86_vnni": "x86_avx512_w16",
    "x86_vbmi": "x86_avx512_w16",
    "x86_zen5": "x86_zen5_w16",
    "x86_amx": "x86_avx512_w16",
    "opencl": "opencl_w16",
    "cuda": "cuda_w16",
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


def for_floats(mk: MicroKernel) -> MicroKernel:
    """What the chips of an integer micro-kernel offer floats."""
    return load(FLOAT32[mk.name])


def for_words(mk: MicroKernel) -> MicroKernel:
    """What the chips of an integer micro-kernel offer codes of 16 bits."""
    return load(WORDS[mk.name])
