/* What this executable is, and whether it still is what was built. */
#ifndef IDENTITY_H
#define IDENTITY_H

extern const char program_json[]; /* the whole file, see program.S */
extern const char model_name[], model_sha256[], edgekiln_version[]; /* see identity.c */

/* The last four bytes of the executable are the CRC-32 (ISO 3309, as zlib's) of all before them,
 * least significant byte first. Exits with EXIT_BUNDLE when they differ; does nothing where the
 * file cannot be read. */
void check_executable(void);

#endif
