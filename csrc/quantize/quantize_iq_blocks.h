/* Blocks of IQ1 to IQ3 from what quantize_iq.h found; included by it alone. */
#ifndef QUANTIZE_IQ_BLOCKS_H
#define QUANTIZE_IQ_BLOCKS_H

static size_t iq_block_bytes(lk_iq_type type) {
    switch (type) {
    case LK_IQ_iq3_xxs:
        return sizeof(block_iq3_xxs);
    case LK_IQ_iq3_s:
        return sizeof(block_iq3_s);
    case LK_IQ_iq2_xxs:
        return sizeof(block_iq2_xxs);
    case LK_IQ_iq2_xs:
        return sizeof(block_iq2_xs);
    case LK_IQ_iq2_s:
        return sizeof(block_iq2_s);
    case LK_IQ_iq1_s:
        return sizeof(block_iq1_s);
    default:
        return sizeof(block_iq1_m);
    }
}

LK_INLINE void iq_put_u16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* Seven signs of each of four points of group g, and the scale in four bits above. */
LK_INLINE void iq_put_signs_and_scale(uint8_t at[4], const iq_room *room, int g) {
    uint32_t word = (uint32_t)(room->k[g] / 2) << 28;
    for (int l = 0; l < 4; l++)
        word |= (uint32_t)(room->signs[4 * g + l] & 127) << 7 * l;
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(word >> 8 * i);
}

LK_INLINE void iq_put_nibbles(uint8_t *at, const int *k, int n) {
    for (int i = 0; i < n; i++)
        at[i / 2] |= (uint8_t)(k[i] / 2 << i % 2 * 4);
}

static void iq_write_3(lk_iq_type type, void *block, const iq_room *room, uint16_t d) {
    if (type == LK_IQ_iq3_xxs) {
        block_iq3_xxs *b = block;
        b->d = d;
        for (int g = 0; g < 8; g++) {
            iq_put_signs_and_scale(b->signs + 4 * g, room, g);
            for (int i = 0; i < 8; i++)
                b->qs[8 * g + i] = (uint8_t)room->chosen[g].point[i];
        }
        return;
    }
    block_iq3_s *b = block;
    b->d = d;
    memcpy(b->signs, room->signs, sizeof b->signs);
    iq_put_nibbles(b->scales, room->k, 8);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 8; i++) {
            const int point = room->chosen[g].point[i];
            b->qs[8 * g + i] = (uint8_t)point;
            b->qh[g] |= (uint8_t)(point >> 8 << i);
        }
}

static void iq_write_2(lk_iq_type type, void *block, const iq_room *room, uint16_t d) {
    if (type == LK_IQ_iq2_xxs) {
        block_iq2_xxs *b = block;
        b->d = d;
        for (int g = 0; g < 8; g++) {
            for (int l = 0; l < 4; l++)
                b->qs[8 * g + l] = (uint8_t)room->chosen[g].point[l];
            iq_put_signs_and_scale(b->qs + 8 * g + 4, room, g);
        }
        return;
    }
    block_iq2_xs *xs = block;
    block_iq2_s *s = block;
    if (type == LK_IQ_iq2_xs) {
        xs->d = d;
        iq_put_nibbles(xs->scales, room->k, 16);
    } else {
        s->d = d;
        memcpy(s->signs, room->signs, sizeof s->signs);
        iq_put_nibbles(s->scales, room->k, 16);
    }
    for (int i = 0; i < 32; i++) {
        const int point = room->chosen[i / 2].point[i % 2];
        if (type == LK_IQ_iq2_xs) {
            iq_put_u16(xs->qs + 2 * i, (unsigned)point | (room->signs[i] & 127u) << 9);
        } else {
            s->qs[i] = (uint8_t)point;
            s->qh[i / 4] |= (uint8_t)(point >> 8 << i % 4 * 2);
        }
    }
}

static void iq_write_1(lk_iq_type type, void *block, const iq_room *room, uint16_t d) {
    block_iq1_s *s = block;
    block_iq1_m *m = block;
    const int is_s = type == LK_IQ_iq1_s, parts = is_s ? 4 : 2;
    if (is_s)
        s->d = d;
    unsigned words[8] = {0}; /* qh of IQ1_S, scales of IQ1_M */
    for (int i = 0; i < 32; i++) {
        const int shifted = room->chosen[i / parts].point[i % parts], point = shifted % SHIFTED;
        const unsigned is_down = shifted >= SHIFTED, high = (unsigned)point >> 8;
        if (is_s) {
            s->qs[i] = (uint8_t)point;
            words[i / 4] |= high << 3 * (i % 4) | is_down << 15;
        } else {
            m->qs[i] = (uint8_t)point;
            m->qh[i / 2] |= (uint8_t)((high | is_down << 3) << i % 2 * 4);
        }
    }
    for (int b = 0; b < (is_s ? 8 : 16); b++)
        words[is_s ? b : b / 4] |= (unsigned)(room->k[b] / 2) << (is_s ? 12 : 3 * (b % 4));
    for (int i = 0; i < (is_s ? 8 : 4); i++)
        if (is_s)
            iq_put_u16(s->qh + 2 * i, words[i]);
        else
            iq_put_u16(m->scales + 2 * i, words[i] | ((unsigned)d >> 4 * i & 15) << 12);
}

static void iq_write(lk_iq_type type, void *block, const iq_room *room, uint16_t d) {
    if (type == LK_IQ_iq3_xxs || type == LK_IQ_iq3_s)
        iq_write_3(type, block, room, d);
    else if (type == LK_IQ_iq1_s || type == LK_IQ_iq1_m)
        iq_write_1(type, block, room, d);
    else
        iq_write_2(type, block, room, d);
}

#endif
