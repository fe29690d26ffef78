/* What EdgeKiln's kernels call, for NVIDIA's compiler (with --fmad=false: nothing is contracted). TVM
   writes vectors lane by lane, so that a name with a number takes one lane, too. */
typedef unsigned int uint;
typedef unsigned char uchar;
typedef unsigned short ushort;
/* NVRTC has no headers of C's: the numbers of rows and places are of 64 bits. */
#ifdef __CUDACC_RTC__
typedef long long int64_t;
typedef unsigned long long uint64_t;
#endif

#define ek_fma(a, b, c) __fmaf_rn(a, b, c)
/* Of NaN and a number these choose the number. */
#define ek_fmax(a, b) fmaxf(a, b)
#define ek_fmin(a, b) fminf(a, b)
/* Half to even. */
#define ek_round(x) __float2int_rn(x)
#define ek_div(a, b) __fdiv_rn(a, b)
#define ek_sqrt(x) __fsqrt_rn(x)
/* NaN if either is. */
static __device__ inline float ek_maximum(float a, float b) {
    return a != a ? a : b != b ? b : fmaxf(a, b);
}
static __device__ inline float ek_minimum(float a, float b) {
    return a != a ? a : b != b ? b : fminf(a, b);
}
/* c + the products of four signed bytes of a with four of b, modulo 2^32. */
#define ek_dot(c, a, b) __dp4a((int)(a), (int)(b), (int)(c))
/* A word of four equal bytes. */
#define ek_fill(x) ((int)((uchar)(x) * 0x01010101u))

#define ek_fma2 ek_fma
#define ek_fma4 ek_fma
#define ek_fmax2 ek_fmax
#define ek_fmax4 ek_fmax
#define ek_fmin2 ek_fmin
#define ek_fmin4 ek_fmin
#define ek_round2 ek_round
#define ek_round4 ek_round
#define ek_div2 ek_div
#define ek_div4 ek_div
#define ek_sqrt2 ek_sqrt
#define ek_sqrt4 ek_sqrt
#define ek_maximum2 ek_maximum
#define ek_maximum4 ek_maximum
#define ek_minimum2 ek_minimum
#define ek_minimum4 ek_minimum

/* How TVM spells the numbers that C has no literal for. */
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
