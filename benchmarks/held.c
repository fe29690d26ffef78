/* Preloaded into a process, it makes CPUID tell of fewer instruction sets than the processor has.
 *
 * Linux lets CPUID fault (arch_prctl(2), ARCH_SET_CPUID) where the processor can; the handler below
 * executes it and clears the bits that HELD_CPUID names: LEAF.SUBLEAF.REGISTER.BITS, …, the register
 * as 0 to 3 for EAX to EDX, all in hexadecimal. Threads and forks inherit it; exec does not. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define MOST_CUTS 32

struct cut {
    unsigned leaf, subleaf, reg, bits;
};
static struct cut cuts[MOST_CUTS];
static int count;

static void on_fault(int number, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)regs[REG_RIP];
    unsigned found[4], leaf = (unsigned)regs[REG_RAX], subleaf = (unsigned)regs[REG_RCX];

    /* A fault of CPUID comes from the kernel, at 0F A2; any other is the process's own end. */
    if (info->si_code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) {
        signal(number, SIG_DFL);
        return;
    }
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    for (int i = 0; i < count; i++)
        if (cuts[i].leaf == leaf && cuts[i].subleaf == subleaf)
            found[cuts[i].reg] &= ~cuts[i].bits;
    regs[REG_RAX] = found[0];
    regs[REG_RBX] = found[1];
    regs[REG_RCX] = found[2];
    regs[REG_RDX] = found[3];
    regs[REG_RIP] += 2;
}

__attribute__((constructor)) static void hold(void)
{
    const char *text = getenv("HELD_CPUID");
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int length;

    while (text && *text && count < MOST_CUTS) {
        struct cut *next = &cuts[count++];
        if (sscanf(text, "%x.%x.%x.%x%n", &next->leaf, &next->subleaf, &next->reg, &next->bits,
                   &length) != 4 || next->reg > 3) {
            fputs("error: HELD_CPUID is no list of LEAF.SUBLEAF.REGISTER.BITS\n", stderr);
            _exit(2);
        }
        text += length + (text[length] == ',');
    }
    if (sigaction(SIGSEGV, &action, NULL) || syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        fputs("error: this processor or kernel cannot make CPUID fault\n", stderr);
        _exit(2);
    }
}
