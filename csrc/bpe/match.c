/*
 * Matchers of the pre-tokenizers' expressions, written by hand over sets of characters.
 *
 * Bytes that are no UTF-8 count as unassigned characters, one byte each.
 */
#include "match.h"

#include <string.h>

#define UNICODE_TABLES
#include "unicode.inc"
#include "utf8.h"

enum { UNASSIGNED = 0x10FFFF }; /* will never mean anything */

/* Sets of the character at `pos` < end, and where it ends. */
static inline uint64_t peek(const struct lk_piece *in, size_t pos, size_t *next) {
    uint8_t byte = in->text[pos];
    if (byte < 0x80) {
        *next = pos + 1;
        return unicode_sets[unicode_class[byte]]; /* block 0 is the first */
    }
    uint32_t code = lk_decode_long(in->text, pos, in->end, next);
    code = code == UINT32_MAX ? UNASSIGNED : code;
    return unicode_sets[unicode_class[(size_t)unicode_block[code >> 8] << 8 | (code & 0xFF)]];
}

/* Sets of the character at `pos`; none at the end. */
static inline uint64_t sets_at(const struct lk_piece *in, size_t pos) {
    size_t next;
    return pos < in->end ? peek(in, pos, &next) : 0;
}

/* End of the run from `pos` of at most `max` characters of a set. */
static size_t run_of(const struct lk_piece *in, size_t pos, uint64_t set, size_t max) {
    size_t next;
    for (; max > 0 && pos < in->end && (peek(in, pos, &next) & set); max--) {
        pos = next;
    }
    return pos;
}

size_t lk_match_run(const void *rule, const struct lk_piece *in, size_t pos, struct lk_memo *memo) {
    (void)memo;
    const struct lk_run *run = rule;
    size_t at, next;
    uint64_t sets = peek(in, pos, &next);
    if ((sets & run->lead) && (sets_at(in, next) & run->set)) {
        at = next;
    } else if (sets & run->set) {
        at = pos;
    } else {
        return pos;
    }
    if (run->min <= 1) {
        return run_of(in, at, run->set, run->max);
    }
    for (size_t i = 0; i < run->min; i++, at = next) {
        if (at == in->end || !(peek(in, at, &next) & run->set)) {
            return pos;
        }
    }
    return run_of(in, at, run->set, run->max - run->min);
}

/* \s+$ */
size_t lk_match_last_spaces(const void *rule, const struct lk_piece *in, size_t pos,
                            struct lk_memo *memo) {
    (void)rule;
    if (pos >= memo->end) {
        memo->end = run_of(in, pos, SPACE, LK_ALL);
    }
    return memo->end == in->end ? in->end : pos;
}

size_t lk_match_threes(const void *rule, const struct lk_piece *in, size_t pos,
                       struct lk_memo *memo) {
    const struct lk_threes *threes = rule;
    size_t next;
    if (!(peek(in, pos, &next) & threes->set)) {
        return pos;
    }
    if (pos < memo->start || pos >= memo->end) {
        size_t count = 0;
        memo->start = pos;
        for (memo->end = pos; memo->end < in->end; memo->end = next, count++) {
            if (!(peek(in, memo->end, &next) & threes->set)) {
                break;
            }
        }
        memo->mark = sets_at(in, memo->end) & threes->stop
                         ? SIZE_MAX
                         : run_of(in, pos, threes->set, count % 3);
    }
    if (memo->mark == SIZE_MAX) {
        return pos;
    }
    if (pos < memo->mark) {
        return threes->rest ? memo->mark : pos;
    }
    return run_of(in, pos, threes->set, 3);
}

/* <sentinel:[0-9]+> */
size_t lk_match_sentinel(const void *rule, const struct lk_piece *in, size_t pos,
                         struct lk_memo *memo) {
    (void)rule, (void)memo;
    static const char name[] = "<sentinel:";
    size_t n = sizeof name - 1;
    if (in->end - pos <= n || memcmp(in->text + pos, name, n) != 0) {
        return pos;
    }
    size_t at = run_of(in, pos + n, ASCII_DIGIT, LK_ALL);
    return at > pos + n && at < in->end && in->text[at] == '>' ? at + 1 : pos;
}

/* IMGIMG[A-I]{1,4}Z */
size_t lk_match_image(const void *rule, const struct lk_piece *in, size_t pos,
                      struct lk_memo *memo) {
    (void)rule, (void)memo;
    static const char name[] = "IMGIMG";
    size_t n = sizeof name - 1, at = pos + n;
    if (in->end - pos <= n || memcmp(in->text + pos, name, n) != 0) {
        return pos;
    }
    while (at < in->end && at < pos + n + 4 && in->text[at] >= 'A' && in->text[at] <= 'I') {
        at++;
    }
    return at > pos + n && at < in->end && in->text[at] == 'Z' ? at + 1 : pos;
}

/* [\t\n]|    |  */
size_t lk_match_indent(const void *rule, const struct lk_piece *in, size_t pos,
                       struct lk_memo *memo) {
    (void)rule, (void)memo;
    if (sets_at(in, pos) & (TAB | LINE_FEED)) {
        return pos + 1;
    }
    size_t blanks = run_of(in, pos, BLANK, 4) - pos;
    return pos + (blanks < 4 ? blanks & 2 : 4);
}

/* Length of 's 't 'm 'd 're 've 'll at `pos`, or 0; `fold` 0x20 ignores case. */
static size_t contraction(const struct lk_piece *in, size_t pos, uint8_t fold) {
    const uint8_t *p = in->text + pos;
    size_t have = in->end - pos;
    if (have < 2 || p[0] != '\'') {
        return 0;
    }
    uint8_t a = p[1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return 2;
    }
    if (have < 3) {
        return 0;
    }
    uint8_t b = p[2] | fold;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* upper*lower+ at `pos`. Some characters are both: where the upper ones are not followed by a lower
   one, the last of them that is both ends the match. */
static size_t match_capitalized(const struct lk_words *words, const struct lk_piece *in,
                                size_t pos) {
    size_t at = pos, both = pos, next;
    uint64_t sets;
    for (; at < in->end && ((sets = peek(in, at, &next)) & words->upper); at = next) {
        both = sets & words->lower ? next : both;
    }
    size_t low = run_of(in, at, words->lower, LK_ALL);
    return low > at ? low : both;
}

/* lead?upper*lower+|lead?upper+lower*; a lead that is also a letter's mark is tried as either. */
static size_t match_letters(const struct lk_words *words, const struct lk_piece *in, size_t pos) {
    size_t next;
    uint64_t sets = peek(in, pos, &next);
    size_t from = sets & words->lead ? next : pos;
    if (words->upper == words->lower) {
        size_t at = run_of(in, from, words->lower, LK_ALL);
        return at > from ? at : sets & words->lower ? next : pos;
    }
    size_t at = match_capitalized(words, in, from);
    if (at > from) {
        return at;
    }
    if (from > pos && (at = match_capitalized(words, in, pos)) > pos) {
        return at;
    }
    at = run_of(in, from, words->upper, LK_ALL); /* no lower one follows */
    return at > from ? at : pos;
}

/* lead?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+ */
static size_t match_phrase(const struct lk_words *words, const struct lk_piece *in, size_t pos) {
    size_t next;
    uint64_t sets = peek(in, pos, &next);
    size_t at = sets & words->lead && sets_at(in, next) & LETTER ? next : pos;
    if (!(sets_at(in, at) & LETTER)) {
        return pos;
    }
    for (;;) {
        at = run_of(in, at, LETTER | MARK, LK_ALL);
        if (!(sets_at(in, at) & BLANK) || !(sets_at(in, at + 1) & LETTER)) {
            return at;
        }
        at++;
    }
}

/* The most of 512, 256, .. 4, 2, 1 spaces that no word follows; otherwise one. */
static size_t halve_spaces(const struct lk_piece *in, size_t pos) {
    size_t count = 0, next = pos;
    for (; count <= 512 && next < in->end; count++) {
        size_t at = next;
        if (!(peek(in, at, &next) & SPACE)) {
            count -= count > 0;
            break;
        }
    }
    size_t take = 512;
    while (take > count && take > 1) {
        take /= 2;
    }
    return run_of(in, pos, SPACE, take);
}

static size_t match_spaces(const struct lk_words *words, const struct lk_piece *in, size_t pos,
                           struct lk_memo *memo) {
    size_t line = pos, last = pos, at = pos, next;
    if (words->halving && pos < memo->end) {
        return halve_spaces(in, pos); /* no newline in what is left of the run */
    }
    uint64_t sets;
    for (; at < in->end && ((sets = peek(in, at, &next)) & SPACE); at = next) {
        if (sets & NEWLINE) {
            line = next;
            if (words->newlines == LK_EACH_NEWLINE && at == pos) {
                return next;
            }
        }
        last = at;
    }
    if (words->newlines == LK_LINES && line > pos) {
        return line;
    }
    if (words->halving) {
        memo->end = at;
        return halve_spaces(in, pos);
    }
    return at < in->end && last > pos ? last : at;
}

size_t lk_match_words(const void *rule, const struct lk_piece *in, size_t pos,
                      struct lk_memo *memo) {
    const struct lk_words *words = rule;
    size_t next, at, blank;
    uint64_t sets = peek(in, pos, &next);
    if (in->text[pos] == '\'' && words->contraction && words->contraction != LK_SUFFIX) {
        size_t length = contraction(in, pos, words->contraction == LK_ANY_CASE ? 0x20 : 0);
        if (length) {
            return pos + length;
        }
    }
    if (sets & words->script) {
        return run_of(in, next, words->script, LK_ALL);
    }
    if (words->symbol_and_name && (sets & ASCII_MARK) && (sets_at(in, next) & ASCII_LETTER)) {
        return run_of(in, next, ASCII_LETTER, LK_ALL);
    }
    at = words->phrase ? match_phrase(words, in, pos) : match_letters(words, in, pos);
    if (at > pos) {
        return words->contraction == LK_SUFFIX ? at + contraction(in, at, 0x20) : at;
    }
    blank = sets & words->number_lead ? next : pos;
    at = run_of(in, blank, NUMBER, words->max_digits);
    if (at > blank) {
        return at;
    }
    blank = sets & BLANK ? next : pos;
    at = run_of(in, blank, words->other, LK_ALL);
    if (at > blank) {
        return run_of(in, at, words->tail, words->max_tail);
    }
    return sets & SPACE ? match_spaces(words, in, pos, memo) : pos;
}

size_t lk_after_character(const struct lk_piece *in, size_t pos) {
    size_t next;
    peek(in, pos, &next);
    return next;
}
