/* What kernels count on of C's library where a processor has no instructions for floats: a product
 * and a sum with one rounding, and whole numbers, saturated. Both by integers. Newlib's own fmaf
 * rounds twice; these are the library's alone, no one else's calls come here. */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { MANTISSA = 23, SPECIAL = 255, BIAS = 150 }; /* a mantissa is a whole number times 2^-23 */

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int32_t exponent_of(uint32_t bits) { return (int32_t)(bits >> MANTISSA & SPECIAL); }

/* The nearest whole number, the even one of two; the last one there is where that is too large. */
long lrintf(float x) {
    uint32_t bits = bits_of(x), mantissa = (bits & 0x7fffff) | 0x800000, whole;
    int32_t exponent = exponent_of(bits);
    if (exponent < BIAS - 24) return 0; /* below a half */
    if (exponent > BIAS + 7) return bits >> 31 ? INT32_MIN : INT32_MAX;
    if (exponent >= BIAS) {
        whole = mantissa << (exponent - BIAS);
    } else {
        int32_t shift = BIAS - exponent; /* 1 to 24 */
        whole = mantissa >> shift;
        whole += (mantissa << (32 - shift)) + (whole & 1) > 0x80000000u;
    }
    return bits >> 31 ? -(int32_t)whole : (int32_t)whole;
}

/* mantissa * 2^(exponent - BIAS) of a number that is not 0, the mantissa from 2^23 on. */
static uint32_t unpacked(uint32_t bits, int32_t *exponent) {
    uint32_t mantissa = bits & 0x7fffff;
    *exponent = exponent_of(bits);
    if (*exponent) return mantissa | 0x800000;
    int zeros = __builtin_clz(mantissa) - 8;
    *exponent = 1 - zeros;
    return mantissa << zeros;
}

/* What is left of m * 2^-shift, its last bit set where anything else was. */
static uint64_t shifted(uint64_t m, int32_t shift) {
    if (shift == 0) return m;
    if (shift > 63) return m != 0;
    return m >> shift | ((m << (64 - shift)) != 0);
}

/* m * 2^(exponent - BIAS) for m > 0, rounded half to even. */
static float packed(uint64_t m, int32_t exponent, uint32_t sign) {
    int zeros = __builtin_clzll(m);
    /* The first bit goes to bit 30, of 32 that hold all that matters. */
    exponent += 33 - zeros;
    uint32_t top = zeros > 33 ? (uint32_t)(m << (zeros - 33)) : (uint32_t)shifted(m, 33 - zeros);
    exponent += 7; /* that of a mantissa of 24 bits */
    if (exponent >= SPECIAL) return float_of(sign | 0x7f800000);
    if (exponent <= 0) {
        top = (uint32_t)shifted(top, 1 - exponent);
        exponent = 1;
    }
    uint32_t mantissa = top >> 7;
    mantissa += (top & 0x7f) + (mantissa & 1) > 0x40;
    /* A carry out of the mantissa belongs to the exponent; without the first bit there is none. */
    return float_of(sign | (((uint32_t)(exponent - 1) << MANTISSA) + mantissa));
}

/* a * b + c, rounded once. */
float fmaf(float a, float b, float c) {
    uint32_t of_a = bits_of(a), of_b = bits_of(b), of_c = bits_of(c);
    if (exponent_of(of_a) == SPECIAL || exponent_of(of_b) == SPECIAL) return a * b + c;
    if (exponent_of(of_c) == SPECIAL) return c;
    if (!(of_a << 1) || !(of_b << 1)) return a * b + c; /* zeros have signs */
    if (!(of_c << 1)) return a * b;
    int32_t in_a, in_b, in_c;
    uint64_t product = (uint64_t)unpacked(of_a, &in_a) * unpacked(of_b, &in_b);
    uint64_t summand = unpacked(of_c, &in_c);
    uint32_t sign = (of_a ^ of_b) & 0x80000000u, other = of_c & 0x80000000u;
    /* Both from 2^60 on and below 2^62: of either as much is there as the other can leave. */
    product <<= 14;
    summand <<= 38;
    int32_t exponent = in_a + in_b - BIAS - 14;
    int32_t behind = exponent - (in_c - 38);
    if (behind >= 0) {
        summand = shifted(summand, behind);
    } else {
        product = shifted(product, -behind);
        exponent -= behind;
    }
    uint64_t sum;
    if (sign == other) {
        sum = product + summand;
    } else if (product >= summand) {
        sum = product - summand;
    } else {
        sum = summand - product;
        sign = other;
    }
    return sum ? packed(sum, exponent, sign) : 0.0f;
}
