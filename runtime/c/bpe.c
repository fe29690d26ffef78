/* GPT-2's tokenizer: text in UTF-8 becomes the numbers of byte-level BPE tokens.
 *
 * What it computes is what Hugging Face's `tokenizers` does with a ByteLevel pre-tokenizer and a
 * BPE model. All that depends on the vocabulary and on Unicode lies in tables
 * (edgekiln.models.text.bpe_format), which are little-endian, as all targets are, and were looked
 * through when the program was built. Nothing is allocated, and nothing outlives a call; a word in
 * the making lies in the scratch memory that the program has for it.
 *
 * Text may be any bytes: those that are no UTF-8 are tokens of bytes like others, and no letters.
 */
#include "bpe.h"

#include <stddef.h>
#include <string.h>

#include "utf8.h"

#define NONE UINT32_MAX

/* The header of the tables; offsets are in bytes from their beginning. */
typedef struct {
    uint32_t magic, text_bytes, length, id_bytes;
    uint32_t before, after, pad; /* tokens around a text, NONE for none, and behind it */
    uint32_t special_count, specials; /* number, bytes, place, and whether it takes spaces before */
    uint32_t token_count, wide;       /* numbers below `token_count`; whether they are of 32 bits */
    uint32_t bytes;                   /* the token of each of 256 bytes */
    uint32_t firsts;                  /* of each token: its first merge, and one more at the end */
    uint32_t rights, ranks, made;     /* of each merge: what is joined to it, when, and to what */
    uint32_t bound_count, bounds;     /* where classes change: code point << 2 | class */
} tables_t;

enum { OTHER, LETTER, NUMBER, SPACE };

typedef struct {
    const tables_t *tables;
    void *ids;
    uint32_t *symbols, *ranks; /* of a word: tokens, and of each pair when it joins */
    uint32_t count, limit;     /* tokens so far, and at most, with those around them */
} job_t;

static const void *at(const tables_t *t, uint32_t offset) { return (const uint8_t *)t + offset; }

static uint32_t number_at(const tables_t *t, uint32_t offset, uint32_t place) {
    const void *numbers = at(t, offset);
    return t->wide ? ((const uint32_t *)numbers)[place] : ((const uint16_t *)numbers)[place];
}

static void put(const tables_t *t, void *row, uint32_t place, uint32_t value) {
    if (t->id_bytes == 8) {
        ((int64_t *)row)[place] = value;
    } else {
        ((int32_t *)row)[place] = (int32_t)value;
    }
}

/* Appends a token, if there is room. */
static void add(job_t *job, uint32_t id) {
    if (job->count < job->limit) put(job->tables, job->ids, job->count++, id);
}

/* The merge of two tokens, NONE if there is none. */
static uint32_t merge_of(const tables_t *t, uint32_t left, uint32_t right) {
    const uint32_t *firsts = at(t, t->firsts);
    uint32_t low = firsts[left], last = firsts[left + 1], high = last;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (number_at(t, t->rights, middle) < right) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < last && number_at(t, t->rights, low) == right ? low : NONE;
}

static uint32_t rank_of(const tables_t *t, uint32_t left, uint32_t right) {
    uint32_t merge = merge_of(t, left, right);
    return merge == NONE ? NONE : number_at(t, t->ranks, merge);
}

/* The tokens of a word: pairs are joined, the lowest rank first, of equals the leftmost. */
static void end_word(job_t *job, const uint8_t *word, uint32_t bytes) {
    const tables_t *t = job->tables;
    uint32_t *symbols = job->symbols, *ranks = job->ranks, count = bytes;
    for (uint32_t i = 0; i < bytes; i++) symbols[i] = number_at(t, t->bytes, word[i]);
    for (uint32_t i = 0; i + 1 < count; i++) ranks[i] = rank_of(t, symbols[i], symbols[i + 1]);
    while (count > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < count; i++) {
            if (ranks[i] < ranks[best]) best = i;
        }
        if (ranks[best] == NONE) break;
        symbols[best] = number_at(t, t->made, merge_of(t, symbols[best], symbols[best + 1]));
        count--;
        for (uint32_t i = best + 1; i < count; i++) {
            symbols[i] = symbols[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best + 1 < count) ranks[best] = rank_of(t, symbols[best], symbols[best + 1]);
        if (best) ranks[best - 1] = rank_of(t, symbols[best - 1], symbols[best]);
    }
    for (uint32_t i = 0; i < count; i++) add(job, symbols[i]);
}

/* Reads a character's class; returns its bytes. */
static uint32_t class_of(const tables_t *t, const uint8_t *text, uint32_t bytes, uint32_t *kind) {
    uint32_t c, step = utf8_decode(text, bytes, NONE, &c), low = 0, high = t->bound_count;
    const uint32_t *bounds = at(t, t->bounds);
    *kind = OTHER;
    if (c == NONE) return step;
    while (low < high) { /* the last bound that is not behind it */
        uint32_t middle = low + (high - low) / 2;
        if (bounds[middle] >> 2 <= c) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low) *kind = bounds[low - 1] & 3;
    return step;
}

/* The bytes of an English ending such as 's at the beginning of a text, 0 if there is none. */
static uint32_t ending(const uint8_t *text, uint32_t bytes) {
    if (bytes < 2 || text[0] != '\'') return 0;
    if (memchr("stmd", text[1], 4)) return 2;
    if (bytes < 3) return 0;
    uint32_t re = text[1] == 'r' && text[2] == 'e', ve = text[1] == 'v' && text[2] == 'e';
    return re || ve || (text[1] == 'l' && text[2] == 'l') ? 3 : 0;
}

/* The bytes of the first word of a text that is not empty:
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static uint32_t word_of(const tables_t *t, const uint8_t *text, uint32_t bytes) {
    uint32_t place = ending(text, bytes), kind, next, step, last = 0;
    if (place) return place;
    place = class_of(t, text, bytes, &kind);
    if (text[0] == ' ' && bytes > 1) {
        step = class_of(t, text + 1, bytes - 1, &next);
        if (next != SPACE) {
            kind = next;
            place += step;
        }
    }
    while (place < bytes) {
        step = class_of(t, text + place, bytes - place, &next);
        if (next != kind) break;
        last = place;
        place += step;
    }
    /* The last of several spaces belongs to what follows. */
    return kind == SPACE && place < bytes && last ? last : place;
}

/* The bytes of the longest special token that a text begins with, 0 if there is none. */
static uint32_t special(const tables_t *t, const uint8_t *text, uint32_t bytes,
                        const uint32_t **token) {
    const uint32_t *entry = at(t, t->specials);
    uint32_t found = 0;
    for (uint32_t i = 0; i < t->special_count; i++, entry += 4) {
        uint32_t length = entry[1];
        const uint8_t *string = at(t, entry[2]);
        if (length <= found || length > bytes || string[0] != text[0]) continue;
        if (memcmp(string, text, length) == 0) {
            found = length;
            *token = entry;
        }
    }
    return found;
}

/* Where the spaces begin that a text of so many bytes ends with. */
static uint32_t without_spaces(const tables_t *t, const uint8_t *text, uint32_t bytes) {
    uint32_t place = 0, begin = 0, kind;
    while (place < bytes) {
        place += class_of(t, text + place, bytes - place, &kind);
        if (kind != SPACE) begin = place;
    }
    return begin;
}

static uint32_t tokenize(job_t *job, const uint8_t *text) {
    const tables_t *t = job->tables;
    const uint8_t *end = memchr(text, 0, t->text_bytes);
    uint32_t bytes = end ? (uint32_t)(end - text) : t->text_bytes, place = 0;
    job->count = 0;
    job->limit = t->length - (t->after != NONE);
    if (t->before != NONE) add(job, t->before);
    while (place < bytes && job->count < job->limit) {
        const uint32_t *token = NULL;
        uint32_t stop = place, step = 0;
        while (stop < bytes && !(step = special(t, text + stop, bytes - stop, &token))) stop++;
        uint32_t plain = stop - place;
        if (token && token[3]) plain = without_spaces(t, text + place, plain);
        for (uint32_t from = 0; from < plain && job->count < job->limit;) {
            uint32_t word = word_of(t, text + place + from, plain - from);
            end_word(job, text + place + from, word);
            from += word;
        }
        if (token) add(job, token[0]);
        place = stop + step;
    }
    job->limit = t->length;
    if (t->after != NONE) add(job, t->after);
    for (uint32_t i = job->count; i < t->length; i++) put(t, job->ids, i, t->pad);
    return job->count;
}

int32_t bpe_masked(void *text, void *tables, void *ids, void *mask, void *scratch, int32_t begin,
                   int32_t end) {
    const tables_t *t = tables;
    for (int32_t row = begin; row < end; row++) {
        size_t skipped = (size_t)row * t->length * t->id_bytes;
        size_t room = (size_t)row * t->text_bytes;
        job_t job = {.tables = t, .ids = (uint8_t *)ids + skipped};
        job.symbols = (uint32_t *)scratch + 2 * room;
        job.ranks = job.symbols + t->text_bytes;
        uint32_t count = tokenize(&job, (const uint8_t *)text + room);
        if (!mask) continue;
        for (uint32_t i = 0; i < t->length; i++) put(t, (uint8_t *)mask + skipped, i, i < count);
    }
    return 0;
}

int32_t bpe(void *text, void *tables, void *ids, void *scratch, int32_t begin, int32_t end) {
    return bpe_masked(text, tables, ids, NULL, scratch, begin, end);
}
