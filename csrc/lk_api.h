/*
 * The contract between C and Python. cffi reads this file verbatim and C includes it through lk.h,
 * so it holds no preprocessor line. Every function that can fail returns an lk_status.
 */

enum lk_status {
    LK_OK = 0,
    LK_ERR_ARGUMENT = 1,    /* a size, id or pointer is out of range */
    LK_ERR_MEMORY = 2,      /* an allocation failed or the scratch given is too small */
    LK_ERR_UNSUPPORTED = 3, /* valid, but not something this build or machine does */
    LK_ERR_TRUNCATED = 4,   /* bytes end before the data they announce */
    LK_ERR_BUS = 5          /* mapped pages went away: the file shrank under the map */
};

/* Instruction-set levels, each a bundle of features; a level includes those below it on its
 * machine. */
enum lk_level {
    LK_LEVEL_SCALAR = 0,
    LK_LEVEL_AVX2 = 1,      /* AVX2, FMA, F16C, BMI2 */
    LK_LEVEL_AVX_VNNI = 2,  /* + AVX-VNNI */
    LK_LEVEL_AVX512 = 3,    /* AVX2's + AVX-512 F, BW, DQ, VL, VNNI, VBMI */
    LK_LEVEL_NEON = 4,      /* Armv8.0 Advanced SIMD */
    LK_LEVEL_NEON_DOT = 5,  /* + dot product */
    LK_LEVEL_NEON_I8MM = 6, /* + int8 matrix multiply */
    LK_N_LEVELS = 7
};

/* GGML tensor types that have kernels; the numbers are GGML's own. */
enum lk_type {
    LK_F32 = 0,
    LK_F16 = 1,
    LK_Q4_0 = 2,
    LK_Q4_1 = 3,
    LK_Q5_0 = 6,
    LK_Q5_1 = 7,
    LK_Q8_0 = 8,
    LK_Q2_K = 10,
    LK_Q3_K = 11,
    LK_Q4_K = 12,
    LK_Q5_K = 13,
    LK_Q6_K = 14,
    LK_IQ2_XXS = 16,
    LK_IQ2_XS = 17,
    LK_IQ3_XXS = 18,
    LK_IQ1_S = 19,
    LK_IQ4_NL = 20,
    LK_IQ3_S = 21,
    LK_IQ2_S = 22,
    LK_IQ4_XS = 23,
    LK_IQ1_M = 29,
    LK_BF16 = 30,
    LK_TQ1_0 = 34,
    LK_TQ2_0 = 35,
    LK_MXFP4 = 39
};

/* ---- cpu and dispatch -------------------------------------------------------------------- */

const char *lk_level_name(int level); /* NULL when there is no such level */
int lk_level_available(int level);    /* 1: this CPU and its OS support it */
int lk_level_active(void);
int lk_level_set(int level); /* LK_ERR_UNSUPPORTED if unavailable */
/* Whether a SIGBUS inside an op ends the op (LK_ERR_BUS; at first, yes). Off: what was installed
 * for the signal before comes back, by default the end of the process. */
void lk_bus_guard_set(int on);
int lk_n_kernels(void);                 /* kernel slots */
const char *lk_kernel_name(int slot);   /* NULL when there is no such slot */
int lk_kernel_has(int slot, int level); /* 1: this level has a version of its own */
int lk_type_block(int type, int32_t *n,
                  int32_t *bytes); /* block length and size of a kernel type */

/* ---- gguf strings: a length of len_width (4 or 8) bytes, then the bytes ------------------- */

/*
 * Steps over the strings from pos on: n_walked of them lie within n_bytes and end at end_pos.
 * LK_ERR_TRUNCATED if that is fewer than count; end_pos is then where the incomplete one starts.
 */
int lk_gguf_walk_strings(const uint8_t *bytes, size_t n_bytes, size_t pos, size_t count,
                         int len_width, size_t *n_walked, size_t *end_pos);
/* offsets[0..count]: where each of count strings starts in bytes (its length field); the end. */
int lk_gguf_string_offsets(const uint8_t *bytes, size_t n_bytes, size_t count, int len_width,
                           uint64_t *offsets);

/* ---- work: what every op needs from its caller ------------------------------------------- */

typedef struct {
    void *scratch; /* 64-byte aligned; not shared by two calls at once */
    size_t scratch_bytes;
    int32_t n_threads; /* 1..256 */
} lk_work;

/* ---- norms -------------------------------------------------------------------------------- */

enum lk_norm_kind {
    LK_NORM_NONE = 0,
    LK_NORM_RMS = 1,  /* w x / sqrt(mean(x^2) + eps) */
    LK_NORM_LAYER = 2 /* w (x - mean(x)) / sqrt(var(x) + eps) + b */
};

typedef struct {
    const float *weight;
    const float *bias; /* LK_NORM_LAYER: or NULL */
    float eps;
    int32_t kind; /* lk_norm_kind; all zeros: no norm */
} lk_norm;

/* ---- op_linear: y = epilogue(W norm(x) + b) ----------------------------------------------- */

typedef struct {
    const void *data;  /* n_rows rows of k weights, contiguous blocks, any alignment */
    const float *bias; /* (n_rows) or NULL */
    int64_t row_bytes;
    int32_t type; /* lk_type */
    int32_t n_rows;
} lk_matrix;

enum lk_epilogue {
    LK_STORE = 0,      /* y_i = W_i x */
    LK_ADD = 1,        /* y_0 += W_0 x: the residual stream */
    LK_SWIGLU = 2,     /* y_0 = silu(W_0 x) * (W_1 x): gate and up of equal shape */
    LK_GEGLU = 3,      /* y_0 = gelu(W_0 x) * (W_1 x), the same with gelu's tanh approximation */
    LK_GELU = 4,       /* y_0 = gelu(W_0 x) */
    LK_SWIGLU_OAI = 5, /* y_0 = g sigmoid(1.702 g) (u + 1), g = min(W_0 x, 7), u = W_1 x in -7..7 */
    LK_GELU_ERF = 6    /* y_0 = gelu(W_0 x), as it is defined: no approximation */
};

typedef struct {
    lk_matrix w[3]; /* the matrices that share this input */
    lk_norm norm;   /* (k) applied to x first */
    int32_t n_w;
    int32_t k;        /* input features */
    int32_t epilogue; /* lk_epilogue */
} lk_linear;

int lk_linear_check(const lk_linear *op); /* LK_OK if the op's own fields make sense */
size_t lk_linear_scratch(const lk_linear *op, int n_tokens, int n_threads);
/* x (n_tokens, k); y[i] (n_tokens, w[i].n_rows), rows contiguous, float32. */
int lk_linear_run(const lk_linear *op, const float *x, float *const *y, int n_tokens,
                  const lk_work *work);

/* ---- op_experts: a mixture of experts ------------------------------------------------------ */

typedef struct {
    /* Of the first expert; the next one's rows, and biases, follow behind its own. */
    lk_matrix gate, up; /* n_embd -> n_ff */
    lk_matrix down;     /* n_ff -> n_embd */
    lk_norm norm;       /* (n_embd) applied to x first */
    int32_t n_embd, n_ff;
    int32_t n_expert, n_used; /* how many there are, and how many a token is given to */
    int32_t epilogue;         /* of gate and up: LK_SWIGLU, LK_GEGLU or LK_SWIGLU_OAI */
    int32_t weights_norm;     /* the weights of a token's experts sum to 1 */
    float weights_scale;      /* a factor of the weights */
} lk_experts;

enum { LK_MAX_EXPERTS = 4096 };
int lk_experts_check(const lk_experts *op);
size_t lk_experts_scratch(const lk_experts *op, int n_tokens, int n_threads);
/*
 * x (n_tokens, n_embd) += the sum over a token's experts e, those with the largest logits
 * (n_tokens, n_expert), of weight_e (down_e f(gate_e norm(x), up_e norm(x)) + bias_e), where the
 * weights are softmax(logits). Ties go to the lower number. What is not chosen is not read. If
 * `seen` is not NULL: what it points to is set to describe the call, and holds until the scratch is
 * used again.
 */
typedef struct {
    const int32_t *ends;   /* (n_expert) where an expert's pairs end, which start where those of the
                              one before it end */
    const int32_t *tokens; /* (n_tokens * n_used) the token of each pair */
    const float *weights;  /* (n_tokens * n_used) */
    const float *hidden;   /* (n_tokens * n_used, n_ff): what down is multiplied with */
} lk_experts_seen;
int lk_experts_run(const lk_experts *op, const float *logits, float *x, int n_tokens,
                   const lk_work *work, lk_experts_seen *seen);

/* ---- op_residual: what a part gives, into the residual stream ------------------------------ */

typedef struct {
    lk_norm norm; /* (n) applied to y first, or to the sum */
    int32_t n;
    float scale;
    int32_t sum_norm; /* 1: to the sum */
} lk_residual;

int lk_residual_check(const lk_residual *op);
/* x (n_tokens, n) += scale * norm(y (n_tokens, n)), times sigmoid(gate (n_tokens)) if gate is not
 * NULL; y is overwritten. With sum_norm: x = norm(x + scale * y), and so on. */
int lk_residual_run(const lk_residual *op, float *y, const float *gate, float *x, int n_tokens,
                    const lk_work *work);
/* y (n_tokens, n) = norm(x (n_tokens, n)); y may be x. */
int lk_norm_run(const lk_norm *norm, const float *x, float *y, int n, int n_tokens,
                const lk_work *work);

/* ---- op_attention: norm and rotate q and k, append to the cache, attend -------------------- */

enum lk_rope_kind {
    LK_ROPE_NONE = 0,
    LK_ROPE_ADJACENT = 1, /* pairs (0,1), (2,3) ...: Meta's order, GGUF `llama` */
    LK_ROPE_HALF = 2      /* pairs (i, i + n_rot/2): GPT-NeoX order */
};

typedef struct {
    int32_t n_head;
    int32_t n_kv_head; /* divides n_head */
    int32_t head_dim_k;
    int32_t head_dim_v;
    int32_t n_rot; /* leading dimensions of a head that are rotated; even */
    int32_t rope_kind;
    int32_t cache_type; /* LK_F32, LK_F16, or LK_Q8_0 for head sizes that are multiples of 32 */
    int32_t n_seq;
    int64_t n_ctx;  /* positions a sequence can hold */
    int32_t causal; /* 0: a token sees all tokens of its sequence, 1: none behind it */
    int32_t
        window; /* if causal: how many positions a token sees, its own included; 0: all before it */
    int32_t norm_rows; /* norms go over 0: each head alone, 1: all heads of a token together */
    lk_norm q_norm, k_norm;
    float scale;        /* applied to q k^T */
    float softcap;      /* then each score s is softcap * tanh(s / softcap); 0: not */
    const float *sinks; /* (n_head) a score of each head that no value goes with; NULL: none */
} lk_attention;

enum { LK_MAX_HEAD_DIM = 1024 };
int lk_attention_check(const lk_attention *op);
/* Bytes that the keys, or values, of the first n_pos positions of one sequence and head take. */
size_t lk_cache_keys(int cache_type, int head_dim, int64_t n_pos);
size_t lk_cache_values(int cache_type, int head_dim, int64_t n_pos);
size_t lk_attention_scratch(const lk_attention *op, int n_tokens, int n_threads);
/*
 * q (n_tokens, n_head, head_dim_k) and k (n_tokens, n_kv_head, head_dim_k) are normalised and
 * rotated in place; v (n_tokens, n_kv_head, head_dim_v); out (n_tokens, n_head, head_dim_v).
 * k_cache (n_seq, n_kv_head) of lk_cache_keys(..., n_ctx) bytes each, v_cache likewise; angles
 * (n_tokens, n_rot/2, 2) holds (cos, sin). Token t is position pos[t] of sequence seq[t] and sees
 * positions 0..pos[t], or the last `window` of them; if not causal, positions from 0 to the last
 * that its sequence has in this call.
 */
int lk_attention_run(const lk_attention *op, float *q, float *k, const float *v, float *out,
                     void *k_cache, void *v_cache, const float *angles, const int32_t *pos,
                     const int32_t *seq, int n_tokens, const lk_work *work);
/* angles[t][i] = mscale * (cos, sin)(pos[t] * inv_freq[i]) */
int lk_rope_angles(float *angles, const int32_t *pos, int n_tokens, const double *inv_freq,
                   int n_half, float mscale);

/* ---- op_block: ops that follow each other, in one call ------------------------------------ */

enum lk_step_kind {
    LK_STEP_LINEAR = 0,
    LK_STEP_ATTENTION = 1,
    LK_STEP_RESIDUAL = 2,
    LK_STEP_EXPERTS = 3
};

typedef struct {
    int32_t kind; /* lk_step_kind: which of these it is */
    struct {
        const lk_linear *op;
        const float *x;
        float *y[3];
    } linear; /* arguments of lk_linear_run */
    struct {
        const lk_attention *op;
        float *q, *k;
        const float *v;
        float *out;
        void *k_cache, *v_cache;
        const float *angles;
    } attention; /* arguments of lk_attention_run */
    struct {
        const lk_residual *op;
        float *y;
        const float *gate;
        float *x;
    } residual; /* arguments of lk_residual_run */
    struct {
        const lk_experts *op;
        const float *logits;
        float *x;
    } experts; /* arguments of lk_experts_run */
} lk_step;

typedef struct {
    const int32_t *pos, *seq;
    int32_t n_tokens;
} lk_batch;

/* Runs the steps in order; the first that fails ends it and *failed is its number. */
int lk_block_run(const lk_step *steps, int n_steps, const lk_batch *batch, const lk_work *work,
                 int32_t *failed);

/* ---- op_pages: pages of a mapping ---------------------------------------------------------- */

/* Reads the pages of n bytes at p into memory and maps them; where the kernel is older than 5.14,
 * asks for them only. LK_ERR_BUS: the file is too short, or cannot be read. */
int lk_pages_fetch(const void *p, size_t n);
/* The same, and keeps them there; LK_ERR_MEMORY: more than the system allows. */
int lk_pages_lock(const void *p, size_t n);

/* ---- op_rows: embedding look-up ----------------------------------------------------------- */

/* y (n_ids, k): the chosen rows of w as float32; LK_ERR_ARGUMENT for an id outside w. */
int lk_rows(const lk_matrix *w, int k, const int32_t *ids, int n_ids, float *y);

/* ---- op_quantize: rows of one type as rows of another ---------------------------------------- */

size_t lk_quantize_scratch(int k, int n_threads);
/*
 * dst: the rows of src, k values each, in `type`. importance (k), not negative, weighs the squared
 * errors of columns; NULL: 1. The same bits whatever the level and the threads. *bad: -1, or the
 * first element, counted over the rows, that `type` cannot store: NaN, infinite or too large. Its
 * row, and others like it, are not written. LK_ERR_UNSUPPORTED: a type without decoder or encoder.
 */
int lk_quantize_rows(const lk_matrix *src, int k, int type, const float *importance, void *dst,
                     const lk_work *work, int64_t *bad);

/* ---- op_values: arithmetic on n values, in place ------------------------------------------- */

int lk_scale(float *x, int64_t n, float scale);  /* x *= scale */
int lk_add(float *x, const float *y, int64_t n); /* x += y */
int lk_softcap(float *x, int64_t n, float cap);  /* x = cap * tanh(x / cap), cap > 0 */

/* ---- op_sample: what sampling asks of a row of logits -------------------------------------- */

int lk_argmax(const float *x, int n, int32_t *index); /* lowest index of the maximum; NaN refused */
/* The k largest, sorted descending, ties by lower index; 1 <= k <= n. NaN refused. */
int lk_top_k(const float *x, int n, int k, int32_t *indices, double *values);
/* mass[i]: the sum of exp((logits[j] - shift) / t) over j <= i; shift NULL: the largest logit. */
int lk_cumulate(const double *logits, int n, const double *shift, double t, double *mass);
int lk_log_sum_exp(const float *x, int n, double *result);

/* ---- op_probe: what the machine allows ----------------------------------------------------- */

typedef struct {
    const void *data;
    size_t n_bytes;
} lk_span;

/*
 * Reads every byte of the spans once, each thread one part of them: in a row if n_streams is 1, its
 * two halves at once if it is 2. *seconds from when all threads are there until the last is done;
 * *value the XOR of all 64-bit little-endian words of each span, its last word filled up with
 * zeros.
 */
int lk_probe_read(const lk_span *spans, int n_spans, int n_streams, int n_threads, double *seconds,
                  uint64_t *value);
/* `rounds` rounds, on each thread, of the fastest 8-bit dot products that the kernels in use have;
 * *products counts the multiply-adds of all threads together. */
int lk_probe_int8(int64_t rounds, int n_threads, double *seconds, double *products);

/* ---- pages of mapped files ------------------------------------------------------------------ */

/* resident[i]: whether the page cache holds page i of memory that begins at a page. */
int lk_pages_resident(const void *memory, size_t n_bytes, uint8_t *resident);
/* Pages of a file that left the page cache so recently that more memory would have kept them.
   LK_ERR_UNSUPPORTED before Linux 6.5, and where this is not told. */
int lk_file_evicted(int fd, uint64_t *pages);

typedef struct lk_trace lk_trace; /* notes which pages of read-only memory are touched */

/*
 * Notes first touches, by any thread, of memory that begins at a page, until lk_trace_end, which
 * leaves it readable. Nobody else may touch the memory while a trace is reset or ended. Until the
 * last trace ends SIGSEGV is handled here; what is no touch of theirs goes to the handler before.
 * LK_ERR_ARGUMENT: another trace has some of these pages.
 */
int lk_trace_start(const lk_span *spans, int n_spans, lk_trace **out);
int lk_trace_reset(lk_trace *trace); /* as if nothing had been touched */
/* touched[i]: whether page i was, counted on over the spans. LK_ERR_MEMORY: the touched pieces were
   more than the system keeps apart (vm.max_map_count), so that some were not noted. */
int lk_trace_read(const lk_trace *trace, uint8_t *touched);
void lk_trace_end(lk_trace *trace);

/* ---- tokenizer ----------------------------------------------------------------------------- */

/* An array of strings as a GGUF header holds it: each a little-endian length, then its bytes. */
struct lk_strings {
    const uint8_t *data;
    size_t nbytes;
    size_t count;
    int length_width; /* 4 or 8 bytes */
};

/* Pre-tokenizers: how a text is cut into words before merges apply. */
enum lk_pretok {
    LK_PRETOK_DEFAULT = 0,
    LK_PRETOK_FALCON = 1,
    LK_PRETOK_GPT2 = 2,
    LK_PRETOK_SMOLLM = 3,
    LK_PRETOK_CHAMELEON = 4,
    LK_PRETOK_LLAMA3 = 5,
    LK_PRETOK_MINICPM5 = 6,
    LK_PRETOK_JAIS2 = 7,
    LK_PRETOK_QWEN2 = 8,
    LK_PRETOK_LAGUNA = 9,
    LK_PRETOK_QWEN35 = 10,
    LK_PRETOK_UFAKZEKA = 11,
    LK_PRETOK_SEED_CODER = 12,
    LK_PRETOK_EXAONE_MOE = 13,
    LK_PRETOK_GPT4O = 14,
    LK_PRETOK_TINY_AYA = 15,
    LK_PRETOK_YOUTU = 16,
    LK_PRETOK_TEKKEN = 17,
    LK_PRETOK_KIMI_K2 = 18,
    LK_PRETOK_DEEPSEEK_LLM = 19,
    LK_PRETOK_DEEPSEEK_CODER = 20,
    LK_PRETOK_DEEPSEEK_V3 = 21,
    LK_PRETOK_SPARK = 22,
    LK_PRETOK_AFMOE = 23,
    LK_PRETOK_BLOOM = 24,
    LK_PRETOK_VIKING = 25,
    LK_PRETOK_SUPERBPE = 26,
    LK_PRETOK_LINES = 27,
    LK_N_PRETOKS = 28
};

struct lk_bpe_options {
    uint64_t seed;     /* of the hash tables; random, so that no file can be made to collide */
    int pretok;        /* enum lk_pretok */
    int ignore_merges; /* a word that is a token is that token, whatever the merges give */
    int characters;    /* merges begin with characters, and tokens are spelled as they are */
    int whole_lines;   /* a word of line feeds that is a token is that token */
    int32_t unk_id;    /* stands for bytes without a token; negative: none */
};

typedef struct lk_bpe lk_bpe; /* byte-level BPE tables; immutable, usable from any thread */

/* `types` holds one tokenizer.ggml.token_type per token. LK_ERR_ARGUMENT with *bad_merge set: that
   merge is no pair of tokens, or gives none. Nothing of the strings is kept. */
int lk_bpe_new(const struct lk_strings *tokens, const uint8_t *types,
               const struct lk_strings *merges, const struct lk_bpe_options *options, lk_bpe **out,
               size_t *bad_merge);
void lk_bpe_free(lk_bpe *bpe);
/* Token i is bytes[offsets[i] .. offsets[i + 1]). */
const uint32_t *lk_bpe_offsets(const lk_bpe *bpe);
const uint8_t *lk_bpe_bytes(const lk_bpe *bpe);
/* A text has at most as many tokens as bytes. LK_ERR_UNSUPPORTED: it holds a byte without a
   token. */
int lk_bpe_encode(const lk_bpe *bpe, const uint8_t *text, size_t n, int32_t *ids, size_t capacity,
                  size_t *n_ids);
/* Ends of the words that a pre-tokenizer cuts a text into; at most one a byte. */
int lk_bpe_split(int pretok, const uint8_t *text, size_t n, size_t *ends, size_t capacity,
                 size_t *n_words);

typedef struct lk_spm lk_spm; /* SentencePiece's BPE; immutable, usable from any thread */

/* `types` as above, and a score per token. LK_ERR_ARGUMENT with *bad_token set: its score is NaN,
   or it is of type byte and not spelled <0xNN>. */
int lk_spm_new(const struct lk_strings *tokens, const uint8_t *types, const float *scores,
               uint64_t seed, lk_spm **out, size_t *bad_token);
void lk_spm_free(lk_spm *spm);
/* As lk_bpe_offsets and lk_bpe_bytes, spaces being spaces. */
const uint32_t *lk_spm_offsets(const lk_spm *spm);
const uint8_t *lk_spm_bytes(const lk_spm *spm);
int32_t lk_spm_byte_id(const lk_spm *spm, int byte); /* token of a byte; -1: none */
/* As lk_bpe_encode; unk_id stands for what has no token, negative: nothing does. */
int lk_spm_encode(const lk_spm *spm, int32_t unk_id, const uint8_t *text, size_t n, int32_t *ids,
                  size_t capacity, size_t *n_ids);

/* SentencePiece's normalisation. */
struct lk_normalizer {
    const uint8_t *charsmap; /* the rules: tokenizer.ggml.precompiled_charsmap */
    size_t n_charsmap;       /* 0: there are none */
    int add_space_prefix;
    int remove_extra_spaces; /* leave out spaces at both ends, and after others */
};

/* LK_ERR_ARGUMENT: the rules are no charsmap. */
int lk_normalizer_check(const struct lk_normalizer *normalizer);
/* *n_bytes: how many the result has; what goes beyond `capacity` is not written. */
int lk_normalize(const struct lk_normalizer *normalizer, const uint8_t *text, size_t n,
                 uint8_t *bytes, size_t capacity, size_t *n_bytes);

typedef struct lk_unigram lk_unigram; /* a unigram model; immutable, usable from any thread */

/* The pieces must outlive it; `scores` holds as many, none of them NaN. */
int lk_unigram_new(const lk_spm *pieces, const float *scores, lk_unigram **out);
void lk_unigram_free(lk_unigram *unigram);
/* As lk_spm_encode. */
int lk_unigram_encode(const lk_unigram *unigram, int32_t unk_id, const uint8_t *text, size_t n,
                      int32_t *ids, size_t capacity, size_t *n_ids);

typedef struct lk_specials lk_specials; /* matcher of special tokens; immutable */

/* Text i is texts[ends[i] .. ends[i + 1]), ends[0] == 0; sorted bytewise, none empty. */
int lk_specials_new(const uint8_t *texts, const size_t *ends, const int32_t *ids, size_t n,
                    lk_specials **out);
void lk_specials_free(lk_specials *specials);
/* Id of the leftmost, longest special token at or after `from`, and where it lies; -1: none. */
int32_t lk_specials_find(const lk_specials *specials, const uint8_t *text, size_t n, size_t from,
                         size_t *start, size_t *end);
