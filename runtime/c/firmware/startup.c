/* What comes before main on an emulated microcontroller: the C library reaches the host's files and
 * its exit code by semihosting, and so do the arguments. The emulator has loaded every section. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 64, SYS_GET_CMDLINE = 0x15 };

extern char stack_top[]; /* firmware.ld */
void reset(void);
int main(int argc, char **argv);
void initialise_monitor_handles(void); /* the C library's, for stdin, stdout and stderr */

static char line[8192];

static void prepare_core(void) {
#ifdef __ARM_ARCH_6M__
    /* UNALIGN_TRP of CCR: the board's core takes words anywhere, as no core of Armv6-M does. */
    *(volatile uint32_t *)0xE000ED14 |= 1u << 3;
#else
    /* Bits 20 to 23 of CPACR let the floating-point and vector units work. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
#endif
    __asm volatile("dsb\n isb");
}

/* 0, or -1 when the line does not fit. */
static int command_line(char *buffer, uint32_t size) {
    uint32_t block[2] = {(uint32_t)(uintptr_t)buffer, size};
    register uint32_t operation __asm("r0") = SYS_GET_CMDLINE;
    register uint32_t *arguments __asm("r1") = block;
    __asm volatile("bkpt 0xab" : "+r"(operation) : "r"(arguments) : "memory");
    return (int)operation;
}

/* %XX is a character: arguments are apart by blanks alone. */
static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from == '%') {
            *to++ = (char)strtol((char[]){from[1], from[2], 0}, NULL, 16);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

void reset(void) {
    prepare_core();
    initialise_monitor_handles();
    static char *argv[MAX_ARGUMENTS + 1];
    int argc = 0;
    if (command_line(line, sizeof line)) abort();
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        if (argc == MAX_ARGUMENTS) abort();
        unescape(word);
        argv[argc++] = word;
    }
    exit(main(argc, argv));
}

/* Any exception is a fault: no interrupt is ever enabled. */
static void fault(void) { abort(); }

__attribute__((section(".vectors"), used)) static const struct {
    char *stack;
    void (*handlers[15])(void);
} vectors = {stack_top, {reset, fault, fault, fault, fault, fault, fault}};
