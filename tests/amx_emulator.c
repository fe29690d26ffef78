/* AMX int8 on a CPU without it: catches SIGILL, decodes the instruction, does what it says.
 *
 * For tests only. Data-flow exact: every instruction below follows its pseudo-code in the Intel 64
 * and IA-32 Architectures Software Developer's Manual, volume 2 (LDTILECFG, STTILECFG, TILERELEASE,
 * TILEZERO, TILELOADD, TILESTORED, TDPBUSD and its three sisters) and the tile rules of volume 1,
 * chapter 18. It says nothing about time, and keeps no start_row: nothing interrupts a tile load.
 * What a CPU would answer with #UD or #GP ends the process with a word, for it is a bug of ours.
 *
 * Each thread has its own tiles, as in hardware. Linked into an executable or loaded as a library,
 * it is there before main or the loader's return. Any other illegal instruction goes to the handler
 * that was there before. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64, CONFIG_BYTES = 64 };

/* Volume 1, table 18-1: the memory operand of LDTILECFG. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} config_t;

static _Thread_local config_t config;
static _Thread_local uint8_t tiles[TILES][ROWS][ROW_BYTES];
static struct sigaction before;

static _Noreturn void refuse(const char *why) {
    fprintf(stderr, "AMX emulator: %s\n", why);
    abort();
}

static void demand(int condition, const char *why) {
    if (!condition) refuse(why);
}

static void load_config(const void *memory) {
    memcpy(&config, memory, sizeof config);
    memset(tiles, 0, sizeof tiles);
    if (config.palette == 0) {
        memset(&config, 0, sizeof config);
        return;
    }
    demand(config.palette == 1 && config.start_row == 0, "unknown palette or start_row");
    for (int i = 0; i < 14; i++) demand(config.reserved[i] == 0, "reserved bytes of a palette");
    for (int t = 0; t < 16; t++) {
        int rows = config.rows[t], bytes = config.row_bytes[t];
        demand(rows <= ROWS && bytes <= ROW_BYTES, "a tile larger than a register");
        demand(!rows == !bytes, "a tile with rows or bytes only");
        demand(t < TILES || !rows, "a ninth tile");
    }
}

static void check_tile(int tile) {
    demand(config.palette == 1, "a tile instruction before LDTILECFG");
    demand(tile < TILES && config.rows[tile], "a tile that is not configured");
}

static void load_tile(int tile, const uint8_t *memory, int64_t stride) {
    check_tile(tile);
    memset(tiles[tile], 0, sizeof tiles[tile]);
    for (int row = 0; row < config.rows[tile]; row++) {
        memcpy(tiles[tile][row], memory + row * stride, config.row_bytes[tile]);
    }
}

static void store_tile(int tile, uint8_t *memory, int64_t stride) {
    check_tile(tile);
    for (int row = 0; row < config.rows[tile]; row++) {
        memcpy(memory + row * stride, tiles[tile][row], config.row_bytes[tile]);
    }
}

static int32_t widened(uint8_t byte, int is_signed) { return is_signed ? (int8_t)byte : byte; }

/* TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD: dst += a (rows of k) times b (k / 4 rows of 4 × columns). */
static void dot(int dst, int a, int b, int a_signed, int b_signed) {
    check_tile(dst), check_tile(a), check_tile(b);
    demand(dst != a && a != b && dst != b, "a product whose tiles are not distinct");
    demand(config.row_bytes[dst] % 4 == 0 && config.row_bytes[a] % 4 == 0, "parts of a dword");
    demand(config.rows[dst] == config.rows[a], "sums and left operand differ in rows");
    demand(config.row_bytes[dst] == config.row_bytes[b], "sums and right operand differ in width");
    demand(config.row_bytes[a] / 4 == config.rows[b], "left and right operand differ in depth");
    for (int m = 0; m < config.rows[dst]; m++) {
        int32_t sums[ROW_BYTES / 4];
        memcpy(sums, tiles[dst][m], ROW_BYTES);
        for (int k = 0; k < config.row_bytes[a] / 4; k++) {
            for (int n = 0; n < config.row_bytes[dst] / 4; n++) {
                for (int i = 0; i < 4; i++) {
                    int32_t left = widened(tiles[a][m][4 * k + i], a_signed);
                    int32_t right = widened(tiles[b][k][4 * n + i], b_signed);
                    sums[n] = (int32_t)((uint32_t)sums[n] + (uint32_t)(left * right));
                }
            }
        }
        memcpy(tiles[dst][m], sums, ROW_BYTES);
    }
    /* Rows and bytes outside the configured shape are 0 from the moment it was loaded. */
}

/* A general register by its number in an instruction: volume 2, table 2-3. */
static int64_t general(const ucontext_t *context, int number) {
    static const int PLACES[16] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    };
    return context->uc_mcontext.gregs[PLACES[number]];
}

typedef struct {
    uint8_t *address;
    int64_t index; /* of a SIB operand, scaled: a tile's stride */
    int bytes;     /* of ModRM, SIB and displacement */
} memory_t;

/* The memory operand that starts with the ModRM byte at `code`: volume 2, section 2.1.5. */
static memory_t memory_operand(const ucontext_t *context, const uint8_t *code, int vex_x, int vex_b) {
    int mod = code[0] >> 6, rm = code[0] & 7, has_sib = rm == 4;
    memory_t operand = {.bytes = 1 + has_sib};
    int base = rm, has_base = 1;
    if (has_sib) {
        int index = (code[1] >> 3 & 7) | vex_x << 3;
        base = code[1] & 7;
        has_base = !(mod == 0 && base == 5);
        if (index != 4) operand.index = general(context, index) << (code[1] >> 6);
    }
    int relative = mod == 0 && rm == 5; /* to the next instruction; these have no immediate */
    int32_t displacement = 0;
    if (mod == 1) {
        displacement = (int8_t)code[operand.bytes];
        operand.bytes += 1;
    } else if (mod == 2 || relative || !has_base) {
        memcpy(&displacement, code + operand.bytes, 4);
        operand.bytes += 4;
    }
    intptr_t from = 0;
    if (relative) from = (intptr_t)(code + operand.bytes);
    else if (has_base) from = general(context, base | vex_b << 3);
    operand.address = (uint8_t *)(from + displacement);
    return operand;
}

/* The pp field of a VEX prefix. */
enum { PP_NONE, PP_66, PP_F3, PP_F2 };

/* Length of the AMX instruction at `code`, done; 0 when it is none. */
static int execute(const ucontext_t *context, const uint8_t *code) {
    /* VEX.128, three-byte form, map 0F38, W0: volume 2, section 2.3.5. */
    if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0) return 0;
    int vex_r = !(code[1] & 0x80), vex_x = !(code[1] & 0x40), vex_b = !(code[1] & 0x20);
    int vvvv = ~code[2] >> 3 & 15, pp = code[2] & 3, opcode = code[3], modrm = code[4];
    int in_register = modrm >> 6 == 3, reg = (modrm >> 3 & 7) | vex_r << 3;
    if (opcode == 0x5e && in_register) {
        dot(reg, (modrm & 7) | vex_b << 3, vvvv, pp == PP_F2 || pp == PP_F3,
            pp == PP_F2 || pp == PP_66);
        return 5;
    }
    if (opcode == 0x49 && in_register && pp == PP_NONE) {
        memset(&config, 0, sizeof config); /* TILERELEASE */
        memset(tiles, 0, sizeof tiles);
        return 5;
    }
    if (opcode == 0x49 && in_register && pp == PP_F2) {
        check_tile(reg); /* TILEZERO */
        memset(tiles[reg], 0, sizeof tiles[reg]);
        return 5;
    }
    if ((opcode != 0x49 && opcode != 0x4b) || in_register) return 0;
    memory_t operand = memory_operand(context, code + 4, vex_x, vex_b);
    if (opcode == 0x49 && pp == PP_NONE) load_config(operand.address + operand.index);
    else if (opcode == 0x49 && pp == PP_66)
        memcpy(operand.address + operand.index, &config, sizeof config);
    else if (opcode == 0x4b && pp == PP_F3) store_tile(reg, operand.address, operand.index);
    else if (opcode == 0x4b && (pp == PP_F2 || pp == PP_66))
        load_tile(reg, operand.address, operand.index); /* T1 is a hint to the caches */
    else return 0;
    return 4 + operand.bytes;
}

static void on_illegal(int number, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    int length = execute(context, (const uint8_t *)context->uc_mcontext.gregs[REG_RIP]);
    if (length) {
        context->uc_mcontext.gregs[REG_RIP] += length;
    } else if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, opaque);
    } else {
        sigaction(SIGILL, &before, NULL); /* once more, without us */
    }
}

__attribute__((constructor)) static void install(void) {
    _Static_assert(sizeof(config_t) == CONFIG_BYTES, "a configuration is 64 bytes");
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, &before);
}
