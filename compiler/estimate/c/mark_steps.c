/* On an x86-64 CPU itself: with the trap flag set it interrupts after every instruction. So the
 * program counts its own instructions, of whatever extension, in the same lines as blocks.c writes,
 * without code: the disassembly of the executable has it. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "cpu.h"
#include "mark.h"

extern const char __executable_start[], etext[];

static uint32_t *counts; /* by distance from __executable_start */
static int section = MARK_END;
static FILE *out;

static void stepped(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    uintptr_t offset = at - (uintptr_t)__executable_start;
    if (offset < (uintptr_t)(etext - __executable_start)) counts[offset]++;
}

static void start(void) {
    const char *path = getenv("EDGEKILN_COUNTS");
    out = path ? fopen(path, "w") : NULL;
    counts = calloc((size_t)(etext - __executable_start), sizeof *counts);
    struct sigaction action = {.sa_sigaction = stepped, .sa_flags = SA_SIGINFO};
    if (!out || !counts || sigaction(SIGTRAP, &action, NULL)) exit(1);
    if (cpu_has("amx_tile") && cpu_request("amx_tile")) exit(1);
}

static void end_section(void) {
    size_t size = (size_t)(etext - __executable_start);
    for (size_t i = 0; i < size; i++) {
        if (counts[i]) {
            fprintf(out, "%d %" PRIxPTR " %" PRIu32 "\n", section,
                    (uintptr_t)__executable_start + i, counts[i]);
        }
        counts[i] = 0;
    }
    fflush(out);
}

void mark(int next) {
    __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
    if (!out) start();
    if (section != MARK_END) end_section();
    section = next;
    if (next == MARK_END) return;
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
}
