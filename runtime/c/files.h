/* Tensors in files: raw bytes, C order, nothing else. */
#ifndef FILES_H
#define FILES_H

#include <stddef.h>

#include "model.h"

/* Zeroed memory for `size` bytes as model.h wants it: aligned, and readable past the end. */
void *tensor_alloc(size_t size);

/* Fill `data` from a file of exactly `size` bytes; else exit with EXIT_INPUT. */
void tensor_read(const char *path, void *data, size_t size);

/* Compare output `index` with a file of its size; exit with EXIT_MISMATCH where they differ. */
void tensor_compare(const char *path, int index, const void *data, size_t size);

#ifdef MODEL_STATE_COUNT
/* The tensors of `size` bytes that a file holds, one a step; exit with EXIT_INPUT where one is not
 * whole. */
long tensor_count(const char *path, size_t size);

/* The same as tensor_read and tensor_compare, of the tensor at `place` in a file of several. */
void tensor_read_at(const char *path, void *data, size_t size, long place);
void tensor_compare_at(const char *path, int index, const void *data, size_t size, long place);
#endif

/* Write a file whole or not at all; else exit with EXIT_STORAGE. */
void tensor_write(const char *path, const void *data, size_t size);

#endif
