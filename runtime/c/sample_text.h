/* Something to read, for programs that take text where nobody gives any: zeros would be an empty
 * text, which takes neither time nor stack. */
#ifndef SAMPLE_TEXT_H
#define SAMPLE_TEXT_H

#include <stddef.h>

static inline void fill_with_text(void *room, size_t bytes) {
    /* Letters with accents and without, an ideograph, a sign, marks of punctuation. */
    static const char sentence[] = "The quick brown fox, \xc3\x89lo\xc3\xafse's, jumps over "
                                   "\xe4\xb8\xad \xe2\x82\xac" "5 of lazy dogs. ";
    for (size_t i = 0; i < bytes; i++) ((char *)room)[i] = sentence[i % (sizeof sentence - 1)];
}

#endif
