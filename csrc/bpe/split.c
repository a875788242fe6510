/*
 * Pre-tokenizers: the words that merges never cross, as the models' regular expressions have them.
 *
 * A pre-tokenizer is a row of stages, each a rule and its matcher (match.h); a stage cuts the
 * pieces of the one before as though nothing followed them. What matches is a piece, and so is what
 * lies between two matches. tests/tokenizer/expressions.py has the expressions that these stand
 * for.
 */
#include "match.h"

#include "unicode.inc"

static const struct lk_words gpt2 = {.contraction = LK_CONTRACTION,
                                     .lead = BLANK,
                                     .upper = LETTER,
                                     .lower = LETTER,
                                     .number_lead = BLANK,
                                     .max_digits = LK_ALL,
                                     .other = OTHER};

/* What the descendants of cl100k (GPT-4) and o200k (GPT-4o) share. */
#define WORDS(UPPER_SET, LOWER_SET, DIGITS, OTHER_SET)                                             \
    .lead = BEFORE_LETTER, .upper = (UPPER_SET), .lower = (LOWER_SET), .max_digits = (DIGITS),     \
    .other = (OTHER_SET), .newlines = LK_LINES
#define CL100K(DIGITS) WORDS(LETTER, LETTER, DIGITS, OTHER)
#define O200K(DIGITS) WORDS(UPPER, LOWER, DIGITS, OTHER)
#define TAIL(SET) .tail = (SET), .max_tail = LK_ALL

static const struct lk_words llama3 = {CL100K(3), TAIL(NEWLINE), .contraction = LK_ANY_CASE};
static const struct lk_words qwen2 = {CL100K(1), TAIL(NEWLINE), .contraction = LK_ANY_CASE};
static const struct lk_words qwen35 = {WORDS(LETTER | MARK, LETTER | MARK, 1, OTHER_NOT_MARK),
                                       TAIL(NEWLINE), .contraction = LK_ANY_CASE};
static const struct lk_words jais2 = {CL100K(3), TAIL(NEWLINE), .contraction = LK_ANY_CASE,
                                      .halving = 1};
static const struct lk_words ufakzeka = {CL100K(1), TAIL(NEWLINE)};
static const struct lk_words seed_coder = {CL100K(1), .contraction = LK_ANY_CASE};
static const struct lk_words exaone_moe = {CL100K(1), .contraction = LK_ANY_CASE, .phrase = 1,
                                           .tail = NEWLINE | SLASH, .max_tail = 1};
static const struct lk_words gpt4o = {O200K(3), TAIL(NEWLINE | SLASH), .contraction = LK_SUFFIX};
static const struct lk_words youtu = {O200K(1), TAIL(NEWLINE | SLASH), .contraction = LK_SUFFIX};
static const struct lk_words tekken = {O200K(1), TAIL(NEWLINE | SLASH)};
static const struct lk_words kimi_k2 = {WORDS(UPPER_NOT_HAN, LOWER_NOT_HAN, 3, OTHER),
                                        TAIL(NEWLINE), .contraction = LK_SUFFIX, .script = HAN};

#define DEEPSEEK                                                                                   \
    .symbol_and_name = 1, .lead = NO_MARK_BEFORE_LETTER, .upper = LETTER | MARK,                   \
    .lower = LETTER | MARK, .other = PUNCTUATION | SYMBOL

static const struct lk_words deepseek_v3 = {DEEPSEEK, TAIL(NEWLINE), .newlines = LK_LINES};
static const struct lk_words spark = {DEEPSEEK, .newlines = LK_EACH_NEWLINE};

#define BY_WORDS(RULE) {lk_match_words, &(RULE), 0}
#define BY_RUN(...) {lk_match_run, &(const struct lk_run){__VA_ARGS__}, 0}
#define RUNS(LEAD, SET) BY_RUN((LEAD), (SET), 1, LK_ALL) /* LEAD?SET+ */
#define EACH(SET) BY_RUN(0, (SET), 1, 1)
#define UP_TO_3(SET) BY_RUN(0, (SET), 1, 3)

typedef const struct lk_split_stage stages[LK_MAX_STAGES + 1];

static stages by_pretok[LK_N_PRETOKS] = {
    [LK_PRETOK_DEFAULT] = {RUNS(0, DEFAULT_MARK), BY_WORDS(gpt2), RUNS(0, NUMBER),
                           BY_RUN(0, ASCII_DIGIT, 3, 3)},
    [LK_PRETOK_FALCON] = {RUNS(0, DEFAULT_MARK | BACKTICK), BY_WORDS(gpt2),
                          BY_RUN(0, ASCII_DIGIT, 3, 3)},
    [LK_PRETOK_GPT2] = {BY_WORDS(gpt2)},
    [LK_PRETOK_SMOLLM] = {EACH(NUMBER), BY_WORDS(gpt2)},
    [LK_PRETOK_CHAMELEON] = {{lk_match_sentinel, NULL, 0},
                             {lk_match_image, NULL, 0},
                             {lk_match_indent, NULL, 0},
                             EACH(NUMBER),
                             EACH(PUNCTUATION | ASCII_MARK),
                             BY_WORDS(gpt2)},
    [LK_PRETOK_LLAMA3] = {BY_WORDS(llama3)},
    [LK_PRETOK_MINICPM5] = {UP_TO_3(NUMBER), BY_WORDS(llama3)},
    [LK_PRETOK_JAIS2] = {BY_WORDS(jais2)},
    [LK_PRETOK_QWEN2] = {BY_WORDS(qwen2)},
    [LK_PRETOK_LAGUNA] = {RUNS(0, LINE_FEED), BY_WORDS(qwen2)},
    [LK_PRETOK_QWEN35] = {BY_WORDS(qwen35)},
    [LK_PRETOK_UFAKZEKA] = {BY_WORDS(ufakzeka)},
    [LK_PRETOK_SEED_CODER] = {BY_WORDS(seed_coder)},
    [LK_PRETOK_EXAONE_MOE] = {BY_WORDS(exaone_moe)},
    [LK_PRETOK_GPT4O] = {BY_WORDS(gpt4o)},
    [LK_PRETOK_TINY_AYA] = {{lk_match_threes, &(const struct lk_threes){DIGIT, WORD, 1}, 0},
                            BY_WORDS(gpt4o)},
    [LK_PRETOK_YOUTU] = {RUNS(0, HANGUL), RUNS(0, EAST_MARK), RUNS(0, BOPOMOFO),
                         RUNS(0, HAN_OR_KANA), BY_WORDS(youtu)},
    [LK_PRETOK_TEKKEN] = {BY_WORDS(tekken)},
    [LK_PRETOK_KIMI_K2] = {BY_WORDS(kimi_k2)},
    [LK_PRETOK_DEEPSEEK_LLM] = {EACH(NEWLINE),
                                RUNS(SPACE, DEEPSEEK_LETTER),
                                RUNS(SPACE, DEEPSEEK_MARK),
                                {lk_match_last_spaces, NULL, 0},
                                RUNS(0, DEEPSEEK_EAST),
                                RUNS(0, NUMBER)},
    [LK_PRETOK_DEEPSEEK_CODER] = {EACH(NEWLINE), RUNS(SPACE, LETTER), RUNS(SPACE, PUNCTUATION),
                                  RUNS(0, DEEPSEEK_EAST), EACH(NUMBER)},
    [LK_PRETOK_DEEPSEEK_V3] = {UP_TO_3(NUMBER), RUNS(0, HAN_OR_KANA), BY_WORDS(deepseek_v3)},
    [LK_PRETOK_SPARK] = {EACH(NUMBER), RUNS(0, HAN_OR_KANA), BY_WORDS(spark)},
    [LK_PRETOK_AFMOE] = {{lk_match_threes, &(const struct lk_threes){NUMBER, 0, 1}, 0},
                         RUNS(0, AFMOE_EAST),
                         BY_WORDS(deepseek_v3)},
    [LK_PRETOK_BLOOM] = {RUNS(BLANK, BLOOM_WORD)},
    [LK_PRETOK_VIKING] = {RUNS(BLANK, BLOOM_WORD), EACH(NUMBER)},
    [LK_PRETOK_SUPERBPE] = {RUNS(0, NUMBER),
                            {lk_match_threes, &(const struct lk_threes){DIGIT, 0, 0}, 1}},
    [LK_PRETOK_LINES] = {RUNS(0, LINE_FEED)},
};

void lk_split_start(struct lk_splitter *split, int pretok, const uint8_t *text, size_t n) {
    *split = (struct lk_splitter){.text = text, .stages = by_pretok[pretok], .limit = {n}};
}

/* End of the piece that starts at `pos`. */
static size_t end_of_piece(const struct lk_split_stage *stage, const struct lk_piece *in,
                           size_t pos, struct lk_memo *memo) {
    size_t at = stage->match(stage->rule, in, pos, memo);
    if (at > pos && !stage->starts) {
        return at;
    }
    for (at = at > pos ? at : lk_after_character(in, pos); at < in->end;
         at = lk_after_character(in, at)) {
        if (stage->match(stage->rule, in, at, memo) > at) {
            break;
        }
    }
    return at;
}

size_t lk_split_next(struct lk_splitter *split, size_t pos) {
    size_t *limit = split->limit;
    int k = 0;
    for (; split->stages[k].match; k++) {
        if (limit[k + 1] == pos) {
            struct lk_piece in = {split->text, limit[k]};
            limit[k + 1] = end_of_piece(&split->stages[k], &in, pos, &split->memo[k]);
        }
    }
    return limit[k];
}
