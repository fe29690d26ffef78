// What CUDA's C++ has beside C++, for one thread after the other of a processor: the text of a kernel
// itself is compiled and executed. Only what kernels use; vectors are aligned as CUDA asks.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(threads)

struct Index {
    unsigned x, y, z;
};
static thread_local Index blockIdx, threadIdx;

#define VECTORS(type, name)                                                                        \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                       \
    struct alignas(4 * sizeof(type)) name##4 { type x, y, z, w; };                                 \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                        \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
VECTORS(float, float)
VECTORS(int, int)
VECTORS(unsigned, uint)
VECTORS(short, short)
VECTORS(unsigned short, ushort)
VECTORS(signed char, char)
VECTORS(unsigned char, uchar)

static inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return std::sqrt(a); }
static inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
// Beyond int32 the nearest one; 0 of NaN.
static inline int __float2int_rn(float a) {
    if (a != a) return 0;
    if (a >= 2147483648.0f) return INT32_MAX;
    if (a < -2147483648.0f) return INT32_MIN;
    return (int)std::nearbyintf(a);
}
static inline int __dp4a(int a, int b, int c) {
    std::int8_t x[4], w[4];
    std::memcpy(x, &a, 4);
    std::memcpy(w, &b, 4);
    unsigned sum = (unsigned)c;
    for (int i = 0; i < 4; i++) sum += (unsigned)(x[i] * w[i]);
    return (int)sum;
}
// Of NaN and a number the number, as CUDA's.
static inline float max(float a, float b) { return std::fmax(a, b); }
static inline float min(float a, float b) { return std::fmin(a, b); }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
using std::isnan;

// All threads of a launch, the last one first: none may depend on another.
template <typename Kernel> static void all_threads(unsigned groups, unsigned threads, Kernel kernel) {
    for (unsigned group = groups; group-- > 0;) {
        for (unsigned thread = threads; thread-- > 0;) {
            blockIdx = {group, 0, 0};
            threadIdx = {thread, 0, 0};
            kernel();
        }
    }
}

// The same of kernels whose threads wait for each other: those of a group take turns.
static ucontext_t between_turns, *turn_of;
static std::function<void()> whole_thread;
static bool is_at_end;
static void begin_thread() {
    whole_thread();
    is_at_end = true;
}
static void __syncthreads() { swapcontext(turn_of, &between_turns); }

template <typename Kernel> static void all_groups(unsigned groups, unsigned threads, Kernel kernel) {
    whole_thread = kernel;
    const std::size_t stack = 1 << 16;
    for (unsigned group = groups; group-- > 0;) {
        std::vector<ucontext_t> each(threads);
        std::vector<std::vector<char>> stacks(threads, std::vector<char>(stack));
        for (unsigned thread = 0; thread < threads; thread++) {
            getcontext(&each[thread]);
            each[thread].uc_stack.ss_sp = stacks[thread].data();
            each[thread].uc_stack.ss_size = stack;
            each[thread].uc_link = &between_turns;
            makecontext(&each[thread], begin_thread, 0);
        }
        for (unsigned ended = 0; !ended;) {
            for (unsigned thread = threads; thread-- > 0;) {
                blockIdx = {group, 0, 0};
                threadIdx = {thread, 0, 0};
                turn_of = &each[thread];
                is_at_end = false;
                swapcontext(&between_turns, turn_of);
                ended += is_at_end;
            }
            // One that waits where others have ended waits for ever.
            if (ended && ended != threads) std::abort();
        }
    }
}
