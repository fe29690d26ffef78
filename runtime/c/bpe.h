/* GPT-2's tokenizer as a step of a program; see bpe.c. */
#ifndef BPE_H
#define BPE_H

#include <stdint.h>

/* Texts begin..end-1 become rows of token numbers, and of 1 where a token is and 0 behind the last;
 * always 0. A text ends with a byte of zero, or where its room does. `scratch` has two words of 32
 * bits for each byte of all texts. */
int32_t bpe_masked(void *text, void *tables, void *ids, void *mask, void *scratch, int32_t begin,
                   int32_t end);
int32_t bpe(void *text, void *tables, void *ids, void *scratch, int32_t begin, int32_t end);

#endif
