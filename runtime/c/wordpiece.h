/* BERT's tokenizer as a step of a program; see wordpiece.c. */
#ifndef WORDPIECE_H
#define WORDPIECE_H

#include <stdint.h>

/* Texts begin..end-1 become rows of token numbers, and of 1 where a token is and 0 behind the last;
 * always 0. A text ends with a byte of zero, or where its room does. */
int32_t wordpiece_masked(void *text, void *tables, void *ids, void *mask, int32_t begin,
                         int32_t end);
int32_t wordpiece(void *text, void *tables, void *ids, int32_t begin, int32_t end);

#endif
