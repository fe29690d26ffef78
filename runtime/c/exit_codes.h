/* Exit codes, the same as edgekiln/runtime/errors.py. */
#ifndef EXIT_CODES_H
#define EXIT_CODES_H

enum exit_code {
    EXIT_OK = 0,
    EXIT_BUG = 1,          /* the model's own code failed */
    EXIT_USAGE = 2,        /* ConfigError */
    EXIT_INPUT = 3,        /* InputError */
    EXIT_TOOL = 5,         /* MissingToolError */
    EXIT_MISMATCH = 7,     /* MismatchError */
    EXIT_BUNDLE = 8,       /* BundleError: damaged, or made for another machine */
    EXIT_STORAGE = 9,      /* StorageError */
    EXIT_MEASUREMENT = 12, /* MeasurementError */
    EXIT_DEVICE = 13,      /* DeviceError */
};

/* Print "error: …" and " hint: …" (when hint is not NULL) on stderr and exit. */
_Noreturn void fail(enum exit_code code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
