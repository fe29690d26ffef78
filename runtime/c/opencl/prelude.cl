/* What EdgeKiln's kernels call. The driver defines EK_DOT_… for the dot product that the device has,
   and EK_EXACT where it divides as IEEE 754 asks. A name with a number takes so many lanes. */
#pragma OPENCL FP_CONTRACT OFF

#define ek_fma(a, b, c) fma(a, b, c)
#define ek_fma2(a, b, c) fma(a, b, c)
#define ek_fma4(a, b, c) fma(a, b, c)
/* Of NaN and a number these choose the number. */
#define ek_fmax(a, b) fmax(a, b)
#define ek_fmax2(a, b) fmax(a, b)
#define ek_fmax4(a, b) fmax(a, b)
#define ek_fmin(a, b) fmin(a, b)
#define ek_fmin2(a, b) fmin(a, b)
#define ek_fmin4(a, b) fmin(a, b)
/* Half to even. */
#define ek_round(x) convert_int_rte(x)
#define ek_round2(x) convert_int2_rte(x)
#define ek_round4(x) convert_int4_rte(x)
/* Bytes, wherever they begin. */
#define ek_load2(p) vload2(0, p)
#define ek_load4(p) vload4(0, p)

#ifdef EK_EXACT
#define ek_div(a, b) ((a) / (b))
#define ek_sqrt(x) sqrt(x)
#else
/* Rounded as IEEE 754 does, from results that are nearly so (Markstein, 1990). */
static inline float ek_div(float a, float b) {
    float r = 1.0f / b;
    r = fma(fma(-b, r, 1.0f), r, r);
    float q = a * r, exact = fma(fma(-b, q, a), r, q);
    return isfinite(exact) && r != 0.0f ? exact : a / b;
}
static inline float ek_sqrt(float x) {
    float s = sqrt(x), exact = fma(fma(-s, s, x), 0.5f / s, s);
    return isfinite(exact) && s > 0.0f ? exact : s;
}
#endif
/* NaN if either is. */
static inline float ek_maximum(float a, float b) {
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}
static inline float ek_minimum(float a, float b) {
    return isnan(a) || isnan(b) ? NAN : fmin(a, b);
}

#define EK_LANES_OF_TWO(f)                                                                         \
    static inline float2 f##2(float2 a, float2 b) {                                                \
        return (float2)(f(a.s0, b.s0), f(a.s1, b.s1));                                             \
    }                                                                                              \
    static inline float4 f##4(float4 a, float4 b) {                                                \
        return (float4)(f(a.s0, b.s0), f(a.s1, b.s1), f(a.s2, b.s2), f(a.s3, b.s3));               \
    }
EK_LANES_OF_TWO(ek_div)
EK_LANES_OF_TWO(ek_maximum)
EK_LANES_OF_TWO(ek_minimum)
static inline float2 ek_sqrt2(float2 x) { return (float2)(ek_sqrt(x.s0), ek_sqrt(x.s1)); }
static inline float4 ek_sqrt4(float4 x) {
    return (float4)(ek_sqrt(x.s0), ek_sqrt(x.s1), ek_sqrt(x.s2), ek_sqrt(x.s3));
}

/* c + the products of four signed bytes of a with four of b, modulo 2^32. */
#if defined(EK_DOT_KHR)
#define ek_dot(c, a, b) ((c) + dot_4x8packed_ss_int(as_uint(a), as_uint(b)))
#elif defined(EK_DOT_ARM)
#pragma OPENCL EXTENSION cl_arm_integer_dot_product_accumulate_int8 : enable
#define ek_dot(c, a, b) arm_dot_acc(as_char4(a), as_char4(b), c)
#elif defined(EK_DOT_QCOM)
/* It multiplies unsigned bytes: with u = x + 128 and v = w + 128,
   x w = u v - 128 u - 128 v + 128^2, four times. */
static inline int ek_dot(int c, int a, int b) {
    uint u = as_uint(a) ^ 0x80808080u, v = as_uint(b) ^ 0x80808080u;
    uint sums = qcom_dot8_acc(v, 0x01010101u, qcom_dot8_acc(u, 0x01010101u, 0u));
    return as_int(qcom_dot8_acc(u, v, as_uint(c)) - 128u * sums + 65536u);
}
#else
static inline int ek_dot(int c, int a, int b) {
    char4 x = as_char4(a), w = as_char4(b);
    return c + x.s0 * w.s0 + x.s1 * w.s1 + x.s2 * w.s2 + x.s3 * w.s3;
}
#endif
