/*
 * GGUF weight blocks as they lie in the file: little-endian, packed, any alignment. Each struct
 * says what its bits mean and what they cost. Elements are numbered in the order of the row; `d`,
 * `dmin` and `m` are IEEE half floats.
 */
#ifndef LK_BLOCKS_H
#define LK_BLOCKS_H

#include <stdint.h>

#define LK_QK32 32   /* elements of a 32-wide block */
#define LK_QK256 256 /* elements of a K-quant super-block */

#define LK_BLOCK(name, bytes)                                                                      \
    __attribute__((packed)) name;                                                                  \
    _Static_assert(sizeof(name) == (bytes), #name " must match the file")

/* x = d (q - 8). 4.5 bits per weight. Element j is the low nibble of qs[j], j + 16 the high one. */
typedef struct {
    uint16_t d;
    uint8_t qs[16];
} LK_BLOCK(block_q4_0, 18);

/* x = d q + m. 5 bits per weight. Nibbles as in block_q4_0. */
typedef struct {
    uint16_t d;
    uint16_t m;
    uint8_t qs[16];
} LK_BLOCK(block_q4_1, 20);

/* x = d (q - 16). 5.5 bits per weight. Fifth bit of element j is bit j of the little-endian qh. */
typedef struct {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} LK_BLOCK(block_q5_0, 22);

/* x = d q + m. 6 bits per weight. Bits as in block_q5_0. */
typedef struct {
    uint16_t d;
    uint16_t m;
    uint8_t qh[4];
    uint8_t qs[16];
} LK_BLOCK(block_q5_1, 24);

/* x = d q. 8.5 bits per weight. */
typedef struct {
    uint16_t d;
    int8_t qs[32];
} LK_BLOCK(block_q8_0, 34);

/*
 * x = d (sc & 15) q - dmin (sc >> 4), sc = scales[e / 16]. 2.625 bits per weight.
 * Element e: byte 32 (e / 128) + e % 32 of qs, shift 2 ((e / 32) % 4).
 */
typedef struct {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;
    uint16_t dmin;
} LK_BLOCK(block_q2_K, 84);

/*
 * x = d (sc - 32) (q - 4), q = low two bits (order of block_q2_K) + 4 * hmask bit. 3.4375 bits
 * per weight. High bit of element e: bit e / 32 of hmask[e % 32]. Scales, one per 16 elements, six
 * bits: low nibbles of bytes 0..7 are those of sc 0..7, high nibbles those of sc 8..15; the top two
 * bits of sc[i] are (scales[8 + i % 4] >> 2 (i / 4)) & 3.
 */
typedef struct {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} LK_BLOCK(block_q3_K, 110);

/*
 * x = d sc q - dmin m, a six-bit sc and m per 32 elements. 4.5 bits per weight.
 * 64 elements per 32 bytes: low nibbles of bytes 32c.. are group 2c, high nibbles group 2c + 1.
 * j < 4: sc = s[j] & 63, m = s[j + 4] & 63; j >= 4: sc = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4,
 * m = (s[j + 4] >> 4) | (s[j] >> 6) << 4.
 */
typedef struct {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} LK_BLOCK(block_q4_K, 144);

/* As block_q4_K with a fifth bit: of element l of group j it is bit j of qh[l]. 5.5 bpw. */
typedef struct {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} LK_BLOCK(block_q5_K, 176);

/*
 * x = d sc (q - 32), sc = scales[e / 16] signed. 6.5625 bits per weight. Per half n of 128 elements
 * (ql + 64n, qh + 32n), l = 0..31: element l = lo(ql[l]) | (qh[l] & 3) << 4;
 * 32 + l = lo(ql[32 + l]) | (qh[l] >> 2 & 3) << 4; 64 + l = hi(ql[l]) | (qh[l] >> 4 & 3) << 4;
 * 96 + l = hi(ql[32 + l]) | (qh[l] >> 6) << 4.
 */
typedef struct {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} LK_BLOCK(block_q6_K, 210);

/* The codes of IQ4_NL and IQ4_XS, and of MXFP4 (E2M1 floats, doubled), stand for these. */
static const int8_t lk_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t lk_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* x = d lk_iq4_values[q]. 4.5 bits per weight. Nibbles as in block_q4_0. */
typedef struct {
    uint16_t d;
    uint8_t qs[16];
} LK_BLOCK(block_iq4_nl, 18);

/* x = 2^(d - 128) lk_mxfp4_values[q]. 4.25 bits per weight. Nibbles as in block_q4_0. */
typedef struct {
    uint8_t d;
    uint8_t qs[16];
} LK_BLOCK(block_mxfp4, 17);

/*
 * x = d (sc - 32) lk_iq4_values[q], a six-bit sc per 32 elements. 4.25 bits per weight. Group g: 16
 * bytes of qs, nibbles as in block_q4_0; low four bits of sc: nibble g of scales_l, the low one of
 * a byte first; top two: bits 2 g of scales_h.
 */
typedef struct {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} LK_BLOCK(block_iq4_xs, 136);

#endif
