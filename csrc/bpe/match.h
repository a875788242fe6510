/*
 * The rules of a pre-tokenizer's stages, and the matchers that read them. A matcher gives the end
 * of the match at `pos`, which is `pos` itself if there is none. It looks at each character of a
 * text a bounded number of times, so that splitting is linear.
 */
#ifndef LK_MATCH_H
#define LK_MATCH_H

#include "bpe.h"

#define LK_ALL SIZE_MAX

/* Sets of characters, of which the fields of a rule are unions, are those of unicode.inc. */

/* lead?set{min,max} */
struct lk_run {
    uint64_t lead, set;
    size_t min, max;
};
lk_matcher lk_match_run;

/* \s+$ */
lk_matcher lk_match_last_spaces;

/* Digits in threes, counted from the right: set{1,3}(?=(set{3})*) before what is not in `stop`; or
   set{3}(?=(set{3})*), where there is no `rest`. */
struct lk_threes {
    uint64_t set, stop;
    int rest;
};
lk_matcher lk_match_threes;

/* <sentinel:[0-9]+>, IMGIMG[A-I]{1,4}Z, and [\t\n]|    |  , of Chameleon */
lk_matcher lk_match_sentinel, lk_match_image, lk_match_indent;

/* The large expressions: alternatives in the order of the fields, those that are set. */
struct lk_words {
    enum { LK_NO_CONTRACTION, LK_CONTRACTION, LK_ANY_CASE, LK_SUFFIX } contraction;
    uint64_t script;       /* script+ */
    int symbol_and_name;   /* [!-/:-@\[-`{-~][A-Za-z]+ */
    uint64_t lead;         /* lead?, before letters */
    uint64_t upper, lower; /* upper*lower+|upper+lower*: the same as lower+ if they are equal */
    int phrase;            /* instead: (?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+ */
    uint64_t number_lead;  /* number_lead?\p{N}{1,max_digits} */
    size_t max_digits;
    uint64_t other; /* ' '?other+tail{0,max_tail} */
    uint64_t tail;
    size_t max_tail;
    enum { LK_NO_NEWLINES, LK_LINES, LK_EACH_NEWLINE } newlines; /* LINES: \s*[\r\n]+ */
    int halving; /* \s{512}(?!\S)|..|\s{4}(?!\S)|\s{1,2}(?!\S)|\s; else \s+(?!\S)|\s+ */
};
lk_matcher lk_match_words;

/* End of the character at `pos` < end. */
size_t lk_after_character(const struct lk_piece *in, size_t pos);

#endif
