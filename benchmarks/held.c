/* Loaded as an auditor (LD_AUDIT, rtld-audit(7)), it makes CPUID tell of fewer instruction sets than
 * the processor has.
 *
 * Before any code of a library runs, each CPUID in it becomes INT 0xA2, which is as long and which
 * Linux answers with SIGSEGV, for no program may raise that interrupt. The handler executes CPUID
 * and clears the bits that HELD_CPUID names: LEAF.SUBLEAF.REGISTER.BITS, …, the register as 0 to 3
 * for EAX to EDX, all in hexadecimal; of a leaf without subleaves, ffffffff stands for whatever was
 * left in ECX. Where CPUID stands is told by the file HELD_PLACES: lines of an address in
 * hexadecimal and the path of the library. Threads, forks and children inherit it. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define MOST_CUTS 32
#define EVERY_SUBLEAF 0xffffffffu
#define CPUID_BYTE 0x0f /* CPUID is 0F A2, INT 0xA2 is CD A2. */
#define INT_BYTE 0xcd
#define LAST_BYTE 0xa2

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

    /* A forbidden interrupt comes from the kernel; any other fault is the process's own end. */
    if (info->si_code != SI_KERNEL || code[0] != INT_BYTE || code[1] != LAST_BYTE) {
        signal(number, SIG_DFL);
        return;
    }
    __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
    for (int i = 0; i < count; i++) {
        int alike = cuts[i].subleaf == EVERY_SUBLEAF || cuts[i].subleaf == subleaf;

        if (cuts[i].leaf == leaf && alike)
            found[cuts[i].reg] &= ~cuts[i].bits;
    }
    regs[REG_RAX] = found[0];
    regs[REG_RBX] = found[1];
    regs[REG_RCX] = found[2];
    regs[REG_RDX] = found[3];
    regs[REG_RIP] += 2;
}

static void fail(const char *why, const char *what)
{
    fprintf(stderr, "error: %s%s\n", why, what);
    _exit(2);
}

static void rewrite(unsigned char *place, const char *path)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *start = (void *)((uintptr_t)place & ~(page - 1));

    if (place[0] != CPUID_BYTE || place[1] != LAST_BYTE)
        fail("no CPUID where one was read: ", path);
    if (mprotect(start, page, PROT_READ | PROT_WRITE | PROT_EXEC))
        fail("this kernel lets no code be rewritten: ", path);
    *place = INT_BYTE;
    mprotect(start, page, PROT_READ | PROT_EXEC);
}

unsigned la_version(unsigned version)
{
    const char *text = getenv("HELD_CPUID");
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int length;

    (void)version;
    while (text && *text) {
        struct cut *next = &cuts[count];
        if (count++ == MOST_CUTS || sscanf(text, "%x.%x.%x.%x%n", &next->leaf, &next->subleaf,
                                           &next->reg, &next->bits, &length) != 4 || next->reg > 3)
            fail("HELD_CPUID is no list of LEAF.SUBLEAF.REGISTER.BITS", "");
        text += length + (text[length] == ',');
    }
    if (sigaction(SIGSEGV, &action, NULL))
        fail("no handler of SIGSEGV can be set", "");
    return LAV_CURRENT;
}

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie)
{
    const char *name = *map->l_name ? map->l_name : "/proc/self/exe", *list = getenv("HELD_PLACES");
    char path[PATH_MAX], listed[PATH_MAX];
    unsigned long place;
    FILE *places;

    (void)space;
    (void)cookie;
    if (!realpath(name, path)) /* the kernel's own, which has no file */
        return 0;
    if (!list || !(places = fopen(list, "r")))
        fail("HELD_PLACES is no file: ", list ? list : "");
    while (fscanf(places, "%lx %4095[^\n]", &place, listed) == 2)
        if (!strcmp(path, listed))
            rewrite((unsigned char *)map->l_addr + place, path);
    fclose(places);
    return 0;
}
