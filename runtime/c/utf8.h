/* A character of UTF-8. */
#ifndef UTF8_H
#define UTF8_H

#include <stdint.h>

/* Reads a character; returns its bytes. What is none of UTF-8 is `foreign`, byte by byte. */
static inline uint32_t utf8_decode(const uint8_t *text, uint32_t bytes, uint32_t foreign,
                                   uint32_t *c) {
    uint32_t lead = text[0];
    uint32_t more = lead < 0x80 ? 0 : lead < 0xC2 ? 4 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    *c = foreign;
    if (more == 4 || lead > 0xF4 || more >= bytes) return 1;
    uint32_t value = more ? lead & (0x3Fu >> more) : lead;
    for (uint32_t i = 1; i <= more; i++) {
        if ((text[i] & 0xC0) != 0x80) return 1;
        value = value << 6 | (text[i] & 0x3F);
    }
    /* No longer than needed, no surrogate, inside of Unicode. */
    if (more == 2 && (value < 0x800 || (value >= 0xD800 && value < 0xE000))) return 1;
    if (more == 3 && (value < 0x10000 || value > 0x10FFFF)) return 1;
    *c = value;
    return more + 1;
}

#endif
