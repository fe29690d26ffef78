#include "cpu.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

enum reg { EAX, EBX, ECX, EDX };

/* State that the operating system saves, bits of XCR0: without it a feature must not be used. */
enum { OS_NONE = 0, OS_YMM = 0x06, OS_ZMM = 0xe6, OS_TILE = 0x60000 };

/* Intel SDM volume 2A, CPUID, tables 3-8 and 3-17; volume 1, section 13.3 for XCR0. */
static const struct {
    const char *name;
    uint32_t leaf, subleaf;
    enum reg reg;
    int bit;
    uint32_t os;
} FEATURES[] = {
    {"pni", 1, 0, ECX, 0, OS_NONE},
    {"ssse3", 1, 0, ECX, 9, OS_NONE},
    {"sse4_1", 1, 0, ECX, 19, OS_NONE},
    {"sse4_2", 1, 0, ECX, 20, OS_NONE},
    {"popcnt", 1, 0, ECX, 23, OS_NONE},
    {"movbe", 1, 0, ECX, 22, OS_NONE},
    {"fma", 1, 0, ECX, 12, OS_YMM},
    {"avx", 1, 0, ECX, 28, OS_YMM},
    {"f16c", 1, 0, ECX, 29, OS_YMM},
    {"abm", 0x80000001, 0, ECX, 5, OS_NONE},
    {"bmi1", 7, 0, EBX, 3, OS_NONE},
    {"avx2", 7, 0, EBX, 5, OS_YMM},
    {"bmi2", 7, 0, EBX, 8, OS_NONE},
    {"avx512f", 7, 0, EBX, 16, OS_ZMM},
    {"avx512dq", 7, 0, EBX, 17, OS_ZMM},
    {"avx512ifma", 7, 0, EBX, 21, OS_ZMM},
    {"avx512cd", 7, 0, EBX, 28, OS_ZMM},
    {"avx512bw", 7, 0, EBX, 30, OS_ZMM},
    {"avx512vl", 7, 0, EBX, 31, OS_ZMM},
    {"avx512vbmi", 7, 0, ECX, 1, OS_ZMM},
    {"avx512_vbmi2", 7, 0, ECX, 6, OS_ZMM},
    {"gfni", 7, 0, ECX, 8, OS_NONE},
    {"vaes", 7, 0, ECX, 9, OS_YMM},
    {"vpclmulqdq", 7, 0, ECX, 10, OS_YMM},
    {"avx512_vnni", 7, 0, ECX, 11, OS_ZMM},
    {"avx512_bitalg", 7, 0, ECX, 12, OS_ZMM},
    {"avx512_vpopcntdq", 7, 0, ECX, 14, OS_ZMM},
    {"amx_bf16", 7, 0, EDX, 22, OS_TILE},
    {"avx512_fp16", 7, 0, EDX, 23, OS_ZMM},
    {"amx_tile", 7, 0, EDX, 24, OS_TILE},
    {"amx_int8", 7, 0, EDX, 25, OS_TILE},
    {"avx_vnni", 7, 1, EAX, 4, OS_YMM},
    {"avx512_bf16", 7, 1, EAX, 5, OS_ZMM},
};

/* XCR0, or 0 where programs may not ask. */
static uint64_t os_state(void) {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

int cpu_has(const char *feature) {
    for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++) {
        if (strcmp(FEATURES[i].name, feature) != 0) continue;
        uint32_t regs[4];
        if (!__get_cpuid_count(FEATURES[i].leaf, FEATURES[i].subleaf, &regs[EAX], &regs[EBX],
                               &regs[ECX], &regs[EDX])) {
            return 0;
        }
        int present = regs[FEATURES[i].reg] >> FEATURES[i].bit & 1;
        return present && (os_state() & FEATURES[i].os) == FEATURES[i].os;
    }
    return 0;
}

/* Linux, Documentation/arch/x86/xstate.rst; XCR0's bit 18 are the tiles. */
enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };

int cpu_request(const char *feature) {
    if (strcmp(feature, "amx_tile") != 0) return 0;
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0 ? 0 : errno;
}

#elif defined(__aarch64__) || defined(__arm__)

#include <sys/auxv.h>

/* The kernel's own list of what programs may use: Linux, arch/arm{64,}/include/uapi/asm/hwcap.h,
   with the names of /proc/cpuinfo. Numbers, for a C library may be older than the processor. */
static const struct {
    const char *name;
    unsigned long word;
    int bit;
} FEATURES[] = {
#ifdef __aarch64__
    {"fp", AT_HWCAP, 0},        {"asimd", AT_HWCAP, 1},     {"crc32", AT_HWCAP, 7},
    {"atomics", AT_HWCAP, 8},   {"fphp", AT_HWCAP, 9},      {"asimdhp", AT_HWCAP, 10},
    {"asimdrdm", AT_HWCAP, 12}, {"jscvt", AT_HWCAP, 13},    {"fcma", AT_HWCAP, 14},
    {"lrcpc", AT_HWCAP, 15},    {"asimddp", AT_HWCAP, 20},  {"sve", AT_HWCAP, 22},
    {"asimdfhm", AT_HWCAP, 23}, {"i8mm", AT_HWCAP2, 13},    {"bf16", AT_HWCAP2, 14},
#else
    {"neon", AT_HWCAP, 12},     {"vfpv3", AT_HWCAP, 13},    {"vfpv4", AT_HWCAP, 16},
    {"idiva", AT_HWCAP, 17},    {"idivt", AT_HWCAP, 18},
#endif
};

int cpu_has(const char *feature) {
    for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++) {
        if (strcmp(FEATURES[i].name, feature) != 0) continue;
        return getauxval(FEATURES[i].word) >> FEATURES[i].bit & 1;
    }
    return 0;
}

int cpu_request(const char *feature) {
    (void)feature;
    return 0;
}

#elif defined(__riscv)

#include <sys/auxv.h>

/* Of each extension with a letter for a name the kernel has a bit: Linux,
   arch/riscv/include/uapi/asm/hwcap.h. */
int cpu_has(const char *feature) {
    int letter = feature[0] >= 'a' && feature[0] <= 'z' && !feature[1];
    return letter && getauxval(AT_HWCAP) >> (feature[0] - 'a') & 1;
}

int cpu_request(const char *feature) {
    (void)feature;
    return 0;
}

#else
#error "cpu.c has no feature check for this architecture"
#endif
