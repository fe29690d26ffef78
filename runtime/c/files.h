/* Tensors in files: raw bytes, C order, nothing else. */
#ifndef FILES_H
#define FILES_H

#include <stddef.h>

/* Zeroed memory for `size` bytes as model.h wants it: aligned, and readable past the end. */
void *tensor_alloc(size_t size);

/* Fill `data` from a file of exactly `size` bytes; else exit with EXIT_INPUT. */
void tensor_read(const char *path, void *data, size_t size);

/* Compare output `index` with a file of its size; exit with EXIT_MISMATCH where they differ. */
void tensor_compare(const char *path, int index, const void *data, size_t size);

/* Write a file whole or not at all; else exit with EXIT_STORAGE. */
void tensor_write(const char *path, const void *data, size_t size);

#endif
