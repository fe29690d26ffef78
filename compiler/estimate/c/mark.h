/* Where the sections of a counted program begin and end. */
#ifndef MARK_H
#define MARK_H

/* What a program under QEMU hands to close(), plus the section's number: no such file is open. */
#define MARK 0x6b110000
/* What a program on a board reads: this many bytes behind the start of `mark`, whose own constants are
 * nearer, plus the section's number. */
#define MARK_DISTANCE 64
#define MARK_END 0xffff /* the number that ends a section without beginning another */

/* The section that ran until now ends; what follows belongs to `section`. */
void mark(int section);

#endif
