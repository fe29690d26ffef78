/* BERT's tokenizer: text in UTF-8 becomes the numbers of WordPiece tokens.
 *
 * What it computes is what Hugging Face's `tokenizers` does with a BertNormalizer, a
 * BertPreTokenizer and a WordPiece model. All that depends on the vocabulary and on Unicode lies in
 * tables (edgekiln.models.text.table_format), which are little-endian, as all targets are, and were
 * looked through when the program was built. Nothing is allocated, and nothing outlives a call; a
 * word in the making takes 0.8 KiB of stack.
 *
 * Text may be any bytes. What is no UTF-8 is left out, as the tokenizer leaves out U+FFFD.
 */
#include "wordpiece.h"

#include <stddef.h>
#include <string.h>

#include "utf8.h"

enum {
    MOST_CHARS = 100, /* of a word that is looked up; the tables have this or less */
    PAGE_BITS = 6,    /* characters of a page of properties, as a power of two */
    CHAPTER_BITS = 6, /* pages of a chapter, likewise */
    ANCHOR_BITS = 6,  /* tokens of a block, whose strings are found from its first one's */
};

/* The header of the tables; offsets are in bytes from their beginning. */
typedef struct {
    uint32_t magic, text_bytes, length, id_bytes, cls, sep, pad, unknown, most_chars;
    uint32_t special_count, specials; /* number, bytes and place of each special token */
    uint32_t first_count, count;      /* tokens that begin a word, and all of them */
    uint32_t anchors, deltas, ids, strings;
    uint32_t wide_ids; /* whether `ids` are of 32 bits, and not of 16 */
    uint32_t chapters, pages, properties, characters; /* by parts of the code point */
    uint32_t hangul;                                  /* whether syllables are taken apart */
} tables_t;

/* What a character becomes: one of these, or (place << 2 | count) of `characters`. */
enum { KEPT = 0, LEFT_OUT = 4, MARK = 8, SPACE = 12, ALONE = 16 };

/* A character as the tables have it, and as it waits in a word. */
#define CODE_POINT(c) ((c) & 0x1FFFFF)
#define IS_ALONE(c) ((c) & 0x800000)
#define CLASS(c) ((c) >> 24) /* its canonical combining class */

typedef struct {
    uint32_t chars[MOST_CHARS];
    uint32_t count; /* it may be more, of a word that is too long */
    uint32_t run;   /* where those begin that have no fixed order yet */
} word_t;

typedef struct {
    const tables_t *tables;
    void *ids;
    uint32_t count, limit; /* tokens so far, and at most, without the two around them */
} job_t;

static const void *at(const tables_t *t, uint32_t offset) { return (const uint8_t *)t + offset; }

static void put(const tables_t *t, void *row, uint32_t place, uint32_t value) {
    if (t->id_bytes == 8) {
        ((int64_t *)row)[place] = value;
    } else {
        ((int32_t *)row)[place] = (int32_t)value;
    }
}

/* Appends a token, if there is room. */
static uint32_t add(const job_t *job, uint32_t count, uint32_t id) {
    if (count >= job->limit) return count;
    put(job->tables, job->ids, 1 + count, id);
    return count + 1;
}

static const uint8_t *string_of(const tables_t *t, uint32_t token) {
    const uint32_t *anchors = at(t, t->anchors);
    const uint16_t *deltas = at(t, t->deltas);
    const uint8_t *strings = at(t, t->strings);
    return strings + anchors[token >> ANCHOR_BITS] + deltas[token];
}

/* The byte of a token at a depth, or -1 behind its end. */
static int byte_of(const tables_t *t, uint32_t token, uint32_t depth) {
    const uint8_t *string = string_of(t, token);
    return depth < (uint32_t)(string_of(t, token + 1) - string) ? string[depth] : -1;
}

/* The first of the tokens low..high-1, which are sorted and alike up to `depth`, whose byte there
 * is at least `byte`. */
static uint32_t lower_bound(const tables_t *t, uint32_t low, uint32_t high, uint32_t depth,
                            int byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (byte_of(t, middle, depth) < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The bytes of the longest token among low..high-1 that a text begins with, 0 if there is none. */
static uint32_t longest(const tables_t *t, uint32_t low, uint32_t high, const uint8_t *text,
                        uint32_t bytes, uint32_t *token) {
    uint32_t found = 0;
    for (uint32_t depth = 0; depth < bytes; depth++) {
        low = lower_bound(t, low, high, depth, text[depth]);
        high = lower_bound(t, low, high, depth, text[depth] + 1);
        if (low == high) break;
        if (byte_of(t, low, depth + 1) < 0) {
            found = depth + 1;
            *token = low;
        }
    }
    return found;
}

static uint32_t encode(uint32_t c, uint8_t *to) {
    if (c < 0x80) {
        to[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (uint8_t)(0xC0 | c >> 6);
        to[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (uint8_t)(0xE0 | c >> 12);
        to[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        to[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    to[0] = (uint8_t)(0xF0 | c >> 18);
    to[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    to[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    to[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

static uint32_t id_of(const tables_t *t, uint32_t token) {
    const void *ids = at(t, t->ids);
    return t->wide_ids ? ((const uint32_t *)ids)[token] : ((const uint16_t *)ids)[token];
}

/* The word is over: its tokens, the longest first, or the unknown one for all of it. */
static void end_word(job_t *job, word_t *word) {
    const tables_t *t = job->tables;
    uint8_t text[4 * MOST_CHARS];
    uint32_t bytes = 0, place = 0, count = job->count, token = 0;
    int known = word->count <= t->most_chars;
    for (uint32_t i = 0; known && i < word->count; i++) {
        bytes += encode(CODE_POINT(word->chars[i]), text + bytes);
    }
    while (known && place < bytes) {
        uint32_t low = place ? t->first_count : 0, high = place ? t->count : t->first_count;
        uint32_t taken = longest(t, low, high, text + place, bytes - place, &token);
        known = taken != 0;
        if (known) count = add(job, count, id_of(t, token));
        place += taken;
    }
    if (word->count) job->count = known ? count : add(job, job->count, t->unknown);
    word->count = word->run = 0;
}

/* Marks of other than class 0 stand in the order of their classes, up to the next of class 0:
 * Unicode's canonical order. */
static void append(job_t *job, word_t *word, uint32_t c) {
    if (IS_ALONE(c)) end_word(job, word);
    if (word->count < job->tables->most_chars) {
        uint32_t place = word->count;
        while (CLASS(c) && place > word->run && CLASS(word->chars[place - 1]) > CLASS(c)) {
            word->chars[place] = word->chars[place - 1];
            place--;
        }
        word->chars[place] = c;
    }
    word->count++;
    if (!CLASS(c)) word->run = word->count;
    if (IS_ALONE(c)) end_word(job, word);
}

/* A syllable of Hangul becomes its two or three letters: Unicode's chapter 3.12. */
static int append_hangul(job_t *job, word_t *word, uint32_t c) {
    if (!job->tables->hangul || c < 0xAC00 || c >= 0xAC00 + 11172) return 0;
    uint32_t syllable = c - 0xAC00;
    append(job, word, 0x1100 + syllable / 588);
    append(job, word, 0x1161 + syllable % 588 / 28);
    if (syllable % 28) append(job, word, 0x11A7 + syllable % 28);
    return 1;
}

static uint32_t property_of(const tables_t *t, uint32_t c) {
    const uint8_t *chapters = at(t, t->chapters), *pages = at(t, t->pages);
    const uint16_t *properties = at(t, t->properties);
    uint32_t chapter = chapters[c >> (CHAPTER_BITS + PAGE_BITS)];
    uint32_t page = pages[chapter << CHAPTER_BITS | (c >> PAGE_BITS & ((1u << CHAPTER_BITS) - 1))];
    return properties[page << PAGE_BITS | (c & ((1u << PAGE_BITS) - 1))];
}

static void take(job_t *job, word_t *word, uint32_t c) {
    const tables_t *t = job->tables;
    uint32_t property = property_of(t, c);
    switch (property) {
    case KEPT:
        if (!append_hangul(job, word, c)) append(job, word, c);
        break;
    case LEFT_OUT: break;
    case MARK: word->run = word->count; break;
    case SPACE: end_word(job, word); break;
    case ALONE: append(job, word, c | 0x800000); break;
    default: {
        const uint32_t *characters = at(t, t->characters);
        for (uint32_t i = 0; i < (property & 3); i++) {
            append(job, word, characters[(property >> 2) + i]);
        }
    }
    }
}

/* The bytes of the longest special token that a text begins with, 0 if there is none. */
static uint32_t special(const tables_t *t, const uint8_t *text, uint32_t bytes, uint32_t *id) {
    const uint32_t *entry = at(t, t->specials);
    uint32_t found = 0;
    for (uint32_t i = 0; i < t->special_count; i++, entry += 3) {
        uint32_t length = entry[1];
        const uint8_t *string = at(t, entry[2]);
        if (length <= found || length > bytes || string[0] != text[0]) continue;
        if (memcmp(string, text, length) == 0) {
            found = length;
            *id = entry[0];
        }
    }
    return found;
}

static uint32_t tokenize(const tables_t *t, const uint8_t *text, void *ids) {
    job_t job = {.tables = t, .ids = ids, .count = 0, .limit = t->length - 2};
    word_t word;
    word.count = word.run = 0;
    const uint8_t *end = memchr(text, 0, t->text_bytes);
    uint32_t bytes = end ? (uint32_t)(end - text) : t->text_bytes, step;
    for (uint32_t place = 0; place < bytes && job.count < job.limit; place += step) {
        uint32_t value = 0;
        step = special(t, text + place, bytes - place, &value);
        if (step) {
            end_word(&job, &word);
            job.count = add(&job, job.count, value);
        } else {
            step = utf8_decode(text + place, bytes - place, 0xFFFD, &value);
            take(&job, &word, value);
        }
    }
    end_word(&job, &word);
    put(t, ids, 0, t->cls);
    put(t, ids, 1 + job.count, t->sep);
    for (uint32_t i = job.count + 2; i < t->length; i++) put(t, ids, i, t->pad);
    return job.count + 2;
}

int32_t wordpiece_masked(void *text, void *tables, void *ids, void *mask, int32_t begin,
                         int32_t end) {
    const tables_t *t = tables;
    for (int32_t row = begin; row < end; row++) {
        size_t skipped = (size_t)row * t->length * t->id_bytes;
        const uint8_t *sample = (const uint8_t *)text + (size_t)row * t->text_bytes;
        uint32_t count = tokenize(t, sample, (uint8_t *)ids + skipped);
        if (!mask) continue;
        for (uint32_t i = 0; i < t->length; i++) put(t, (uint8_t *)mask + skipped, i, i < count);
    }
    return 0;
}

int32_t wordpiece(void *text, void *tables, void *ids, int32_t begin, int32_t end) {
    return wordpiece_masked(text, tables, ids, NULL, begin, end);
}
