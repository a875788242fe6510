/*
 * Pre-tokenizers: the regular expressions that cut a text into words, written out by hand.
 *
 *   GPT-2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   Llama 3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *             ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *   Qwen 2   the same, but \p{N} for \p{N}{1,3}
 *   SmolLM   \p{N} each apart, then GPT-2
 *   default  [\p{P}$+<=>^~|]+ apart, then GPT-2, then \p{N}+ apart, then [0-9]{3} apart
 *
 * Bytes that are no UTF-8 count as characters of no class, one byte each.
 */
#include "bpe.h"

#include "unicode.inc"
#include "utf8.h"

static inline unsigned class_of(uint32_t code) {
    uint8_t pair = unicode_pairs[(size_t)unicode_index[code / 128] * 64 + code % 128 / 2];
    return code & 1 ? pair >> 4 : pair & 15;
}

/* Class bits of the character at `pos` < `end`, and where it ends. */
static inline unsigned peek(const uint8_t *text, size_t pos, size_t end, size_t *next) {
    if (text[pos] < 0x80) {
        *next = pos + 1;
        return class_of(text[pos]);
    }
    uint32_t code = lk_decode_long(text, pos, end, next);
    return code == UINT32_MAX ? 0 : class_of(code);
}

/* End of the run from `pos` of characters whose class bits, under `mask`, equal `want`. */
static size_t run_of(const uint8_t *text, size_t pos, size_t end, unsigned mask, unsigned want) {
    size_t next;
    while (pos < end && (peek(text, pos, end, &next) & mask) == want) {
        pos = next;
    }
    return pos;
}

static inline int is_newline(uint8_t c) {
    return c == '\r' || c == '\n';
}

/* Length of 's 't 'm 'd 're 've 'll at the apostrophe at `pos`, or 0; `fold` 0x20 ignores case. */
static size_t contraction(const uint8_t *text, size_t pos, size_t end, uint8_t fold) {
    if (end - pos < 2) {
        return 0;
    }
    uint8_t a = text[pos + 1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return 2;
    }
    if (end - pos < 3) {
        return 0;
    }
    uint8_t b = text[pos + 2] | fold;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ at a space: all of the run, less its last character if a word follows. */
static size_t split_spaces(const uint8_t *text, size_t pos, size_t end) {
    size_t last = pos, next;
    size_t at = pos;
    while (at < end && (peek(text, at, end, &next) & SPACE)) {
        last = at;
        at = next;
    }
    return at < end && last > pos ? last : at;
}

static size_t split_gpt2(const uint8_t *text, size_t pos, size_t end) {
    if (text[pos] == '\'') {
        size_t length = contraction(text, pos, end, 0);
        if (length) {
            return pos + length;
        }
    }
    size_t start = pos + (text[pos] == ' '), next;
    if (start < end) {
        unsigned kind = peek(text, start, end, &next) & (LETTER | NUMBER | SPACE);
        if (kind != SPACE) {
            return run_of(text, next, end, LETTER | NUMBER | SPACE, kind);
        }
    }
    return split_spaces(text, pos, end);
}

static size_t split_cl100k(const uint8_t *text, size_t pos, size_t end, int max_digits) {
    if (text[pos] == '\'') {
        size_t length = contraction(text, pos, end, 0x20);
        if (length) {
            return pos + length;
        }
    }
    size_t next, after;
    unsigned kind = peek(text, pos, end, &next);
    if (kind & LETTER) {
        return run_of(text, next, end, LETTER, LETTER);
    }
    if (kind & NUMBER) {
        for (int i = 1; i < max_digits && next < end; i++, next = after) {
            if (!(peek(text, next, end, &after) & NUMBER)) {
                break;
            }
        }
        return next;
    }
    if (!is_newline(text[pos]) && next < end && (peek(text, next, end, &after) & LETTER)) {
        return run_of(text, after, end, LETTER, LETTER);
    }
    size_t start = pos + (text[pos] == ' ');
    size_t other = run_of(text, start, end, LETTER | NUMBER | SPACE, 0);
    if (other > start) {
        while (other < end && is_newline(text[other])) {
            other++;
        }
        return other;
    }
    size_t spaces = run_of(text, pos, end, SPACE, SPACE);
    for (size_t at = spaces; at > pos; at--) {
        if (is_newline(text[at - 1])) {
            return at;
        }
    }
    return split_spaces(text, pos, end);
}

static size_t split_llama3(const uint8_t *text, size_t pos, size_t end) {
    return split_cl100k(text, pos, end, 3);
}

static size_t split_qwen2(const uint8_t *text, size_t pos, size_t end) {
    return split_cl100k(text, pos, end, 1);
}

static size_t split_each_number(const uint8_t *text, size_t pos, size_t end) {
    size_t next;
    if (peek(text, pos, end, &next) & NUMBER) {
        return next;
    }
    return run_of(text, next, end, NUMBER, 0);
}

static size_t split_numbers(const uint8_t *text, size_t pos, size_t end) {
    size_t next;
    unsigned kind = peek(text, pos, end, &next) & NUMBER;
    return run_of(text, next, end, NUMBER, kind);
}

static inline int is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static inline int three_digits(const uint8_t *p) {
    return is_digit(p[0]) && is_digit(p[1]) && is_digit(p[2]);
}

static size_t split_three_digits(const uint8_t *text, size_t pos, size_t end) {
    for (size_t at = pos; end - at >= 3; at++) {
        if (three_digits(text + at)) {
            return at == pos ? pos + 3 : at;
        }
    }
    return end;
}

/* [\p{P}$+<=>^~|] */
static inline int is_default_mark(const uint8_t *text, size_t pos, size_t end, size_t *next) {
    if (peek(text, pos, end, next) & PUNCTUATION) {
        return 1;
    }
    switch (text[pos]) {
    case '$':
    case '+':
    case '<':
    case '=':
    case '>':
    case '^':
    case '~':
    case '|':
        return 1;
    default:
        return 0;
    }
}

static size_t split_marks(const uint8_t *text, size_t pos, size_t end) {
    size_t next;
    int mark = is_default_mark(text, pos, end, &next);
    do {
        pos = next;
    } while (pos < end && is_default_mark(text, pos, end, &next) == mark);
    return pos;
}

static lk_split_stage *const stages_default[] = {split_marks, split_gpt2, split_numbers,
                                                 split_three_digits, NULL};
static lk_split_stage *const stages_gpt2[] = {split_gpt2, NULL};
static lk_split_stage *const stages_llama3[] = {split_llama3, NULL};
static lk_split_stage *const stages_qwen2[] = {split_qwen2, NULL};
static lk_split_stage *const stages_smollm[] = {split_each_number, split_gpt2, NULL};

void lk_split_start(struct lk_splitter *split, int pretok, const uint8_t *text, size_t n) {
    static lk_split_stage *const *const by_pretok[LK_N_PRETOKS] = {
        [LK_PRETOK_DEFAULT] = stages_default, [LK_PRETOK_GPT2] = stages_gpt2,
        [LK_PRETOK_LLAMA3] = stages_llama3,   [LK_PRETOK_QWEN2] = stages_qwen2,
        [LK_PRETOK_SMOLLM] = stages_smollm,
    };
    *split = (struct lk_splitter){.text = text, .stages = by_pretok[pretok], .limit = {n}};
}

size_t lk_split_next(struct lk_splitter *split, size_t pos) {
    size_t *limit = split->limit;
    int k = 0;
    for (; split->stages[k]; k++) {
        if (limit[k + 1] == pos) {
            limit[k + 1] = split->stages[k](split->text, pos, limit[k]);
        }
    }
    return limit[k];
}
