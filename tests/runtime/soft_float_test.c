/* Functions of floats by integers against the processor's own: of bits of every kind, near what
 * rounds, cancels, overflows or has few digits. Prints how many cases there were. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define fmaf soft_fmaf
#define lrintf soft_lrintf
long soft_lrintf(float x);
float soft_fmaf(float a, float b, float c);
#include "soft_float.c"
#undef fmaf
#undef lrintf

enum { CASES = 4000000, KINDS = 8 };

static uint64_t state = 88172645463325252u;

static uint32_t noise(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20);
}

/* The exponent of the first half of a number, its sign and digits those of the second. */
static uint32_t near(uint32_t exponent, uint32_t bits) {
    return ((bits & 0x80ffffff) | exponent << 23) ^ (exponent & 1 ? 0 : 0x800000 & bits);
}

static const uint32_t special[] = {
    0, 0x80000000, 1, 0x80000001, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f7fffff,
    0xff7fffff, 0x800000, 0x7fffff, 0x3f800000, 0xbf800000, 0x3f000000,
};
enum { SPECIALS = sizeof special / sizeof *special };

static void choose(int kind, uint32_t *a, uint32_t *b, uint32_t *c) {
    *a = noise(), *b = noise(), *c = noise();
    switch (kind) {
        case 1: /* of like sizes */
            *a = near(126, *a), *b = near(127, *b), *c = near(126, *c);
            break;
        case 2: /* a sum of almost nothing */
            *c = bits_of(float_of(*a) * float_of(*b)) ^ 0x80000000 ^ (*c & 3);
            break;
        case 3: /* few digits */
            *a &= 0x807fffff;
            break;
        case 4: /* a product of few digits, and what it is added to */
            *a = near(63, *a), *b = near(63, *b), *c &= 0x80ffffff;
            break;
        case 5: /* halves of the last place */
            *a &= ~0xfffu, *b &= ~0x7ffu, *c &= ~0xfffu;
            break;
        case 6:
            *a = special[*a % SPECIALS], *b = special[*b % SPECIALS];
            if (noise() & 1) *c = special[*c % SPECIALS];
            break;
        case 7: /* whole numbers and what lies between two */
            *a = bits_of((float)(int32_t)(*a % 4096 - 2048) * 0.25f);
            break;
        default:
            break;
    }
}

int main(void) {
    long cases = 0;
    for (; cases < CASES; cases++) {
        uint32_t a, b, c;
        choose((int)(cases % KINDS), &a, &b, &c);
        float x = float_of(a), y = float_of(b), z = float_of(c);
        float ours = soft_fmaf(x, y, z), theirs = fmaf(x, y, z);
        int nan = ours != ours && theirs != theirs;
        if (bits_of(ours) != bits_of(theirs) && !nan) {
            fprintf(stderr, "fma %08x %08x %08x: %08x, not %08x\n", a, b, c, bits_of(ours),
                    bits_of(theirs));
            return 1;
        }
        if (x != x) continue;
        long whole = soft_lrintf(x), exact = x >= 0x1p31f ? INT32_MAX : INT32_MIN;
        if (fabsf(x) < 0x1p31f) exact = lrintf(x);
        if (whole != exact) {
            fprintf(stderr, "lrint %08x: %ld, not %ld\n", a, whole, exact);
            return 1;
        }
    }
    printf("%ld\n", cases);
    return 0;
}
