/* A QEMU plugin that counts executed blocks, section by section. The emulated program says where a
 * section begins: by a system call (mark_blocks.c) or, with the option mark=ADDRESS of its function
 * `mark`, by a read (mark_board.c). Written at the end of each section, a line a block that was executed:
 *
 *     section address count instruction instruction…      (address and instructions in hexadecimal)
 *
 * Distributions ship QEMU without its plugin header, so what is used of it is declared here;
 * API is the version that the emulator wants. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef struct qemu_plugin_tb tb_t;
typedef struct qemu_plugin_insn insn_t;
typedef void (*translated_cb)(plugin_id, tb_t *);
typedef void (*executed_cb)(unsigned cpu, void *data);
typedef void (*accessed_cb)(unsigned cpu, uint32_t kind, uint64_t address, void *data);
typedef void (*syscall_cb)(plugin_id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                           uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                           uint64_t a8);
enum { NO_REGISTERS = 0, READS_AND_WRITES = 3 }; /* QEMU 7.2 takes one for the other */

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(tb_t *, executed_cb, int registers, void *data);
void qemu_plugin_register_vcpu_mem_cb(insn_t *, accessed_cb, int registers, int kinds, void *data);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_cb);
size_t qemu_plugin_tb_n_insns(const tb_t *);
uint64_t qemu_plugin_tb_vaddr(const tb_t *);
insn_t *qemu_plugin_tb_get_insn(const tb_t *, size_t);
size_t qemu_plugin_insn_size(const insn_t *);
#if API >= 3
size_t qemu_plugin_insn_data(const insn_t *, void *, size_t);
#else
const void *qemu_plugin_insn_data(const insn_t *);
#endif

EXPORT int qemu_plugin_version = API;

typedef struct block {
    struct block *next;
    uint64_t address, count;
    char code[]; /* " f3031faa d65f03c0" */
} block_t;

enum { MAX_INSN_BYTES = 16 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block_t *blocks;
static int section = MARK_END;
static uint64_t mark_address; /* 0: sections begin by system calls */
static int marking;           /* `mark` runs and has not read yet */
static FILE *out;

static char *append_code(char *text, const insn_t *insn) {
    size_t size = qemu_plugin_insn_size(insn);
    uint8_t bytes[MAX_INSN_BYTES];
#if API >= 3
    qemu_plugin_insn_data(insn, bytes, size);
#else
    memcpy(bytes, qemu_plugin_insn_data(insn), size);
#endif
    *text++ = ' ';
    for (size_t i = 0; i < size; i++) text += sprintf(text, "%02x", bytes[i]);
    return text;
}

static void executed(unsigned cpu, void *data) {
    (void)cpu;
    if (section != MARK_END) ((block_t *)data)->count++;
}

static void end_section(void) {
    pthread_mutex_lock(&lock);
    for (block_t *block = blocks; block; block = block->next) {
        if (block->count) {
            fprintf(out, "%d %" PRIx64 " %" PRIu64 "%s\n", section, block->address, block->count,
                    block->code);
        }
        block->count = 0;
    }
    pthread_mutex_unlock(&lock);
    fflush(out);
}

static void begin_section(uint64_t number) {
    end_section();
    section = (int)number;
}

static void mark_called(unsigned cpu, void *data) {
    (void)cpu, (void)data;
    marking = 1;
}

/* QEMU 7.2 goes on calling this for vectors that blocks after `mark` read. */
static void read_by_mark(unsigned cpu, uint32_t kind, uint64_t address, void *data) {
    (void)cpu, (void)kind, (void)data;
    uint64_t number = address - mark_address - MARK_DISTANCE;
    if (!marking || number > MARK_END) return;
    marking = 0;
    begin_section(number);
}

static void translated(plugin_id id, tb_t *tb) {
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(tb);
    block_t *block = calloc(1, sizeof *block + count * (1 + 2 * MAX_INSN_BYTES) + 1);
    if (!block) abort();
    block->address = qemu_plugin_tb_vaddr(tb);
    char *text = block->code;
    for (size_t i = 0; i < count; i++) text = append_code(text, qemu_plugin_tb_get_insn(tb, i));
    pthread_mutex_lock(&lock);
    block->next = blocks;
    blocks = block;
    pthread_mutex_unlock(&lock);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGISTERS, block);
    if (!mark_address || block->address != mark_address) return;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, mark_called, NO_REGISTERS, NULL);
    for (size_t i = 0; i < count; i++) {
        insn_t *insn = qemu_plugin_tb_get_insn(tb, i);
        qemu_plugin_register_vcpu_mem_cb(insn, read_by_mark, NO_REGISTERS, READS_AND_WRITES, NULL);
    }
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)number;
    (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if ((a1 & ~(uint64_t)MARK_END) != MARK) return;
    begin_section(a1 & MARK_END);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
        if (!strncmp(argv[i], "mark=", 5)) mark_address = strtoull(argv[i] + 5, NULL, 16);
    }
    if (!out) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
