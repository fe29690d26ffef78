"""Plain arithmetic for any CPU: no intrinsics, so LLVM may use whatever the chip has."""

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, const, float_const, reinterpret, splat, vector


class GenericMicroKernel(MicroKernel):
    """Shifts bytes out of words and multiplies them in int32."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        dtype = vector("int32", lanes)
        a32, w32 = reinterpret(a, dtype), reinterpret(w, dtype)
        top = splat(const(24), lanes)
        for byte in range(self.k_step):
            # To the top and down again, with its sign.
            left = splat(const(24 - 8 * byte), lanes)
            if self.activation == "int8":
                a_byte = (a32 << left) >> top
            else:
                a_byte = (a32 >> splat(const(8 * byte), lanes)) & splat(const(0xFF), lanes)
            acc = acc + a_byte * ((w32 << left) >> top)
        return acc

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return round_by_adding(x, lanes)


def round_by_adding(x: Expr, lanes: int) -> Expr:
    """Round float32 to int32, half to even, for |x| < 2²².

    Adding 1.5·2²³ moves the integer part into the low mantissa bits, rounded: no call into libm,
    which `nearbyint` becomes on chips without the instruction.
    """
    magic = splat(float_const(1.5 * 2.0**23), lanes)
    dtype = vector("int32", lanes)
    return reinterpret(x + magic, dtype) - reinterpret(magic, dtype)


GENERIC_U8 = GenericMicroKernel(name="generic_u8", activation="uint8", lanes=(4,), registers=16)
GENERIC_S8 = GenericMicroKernel(name="generic_s8", activation="int8", lanes=(4,), registers=16)
