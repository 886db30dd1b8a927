/*
 * Table population of Maglev, as the pseudocode in section 3.4 of the paper has it: what Sluice's own is compared
 * with. Offsets and skips are given, so their hashing costs nothing here.
 */
#include <stdint.h>

/* The paper's permutation[i][j] = (offset + j * skip) mod M, computed when it is asked for. */
void maglev_modulo(int32_t *entry, uint32_t m, uint32_t *next, const uint32_t *offset, const uint32_t *skip, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        next[i] = 0;
    for (uint32_t j = 0; j < m; j++)
        entry[j] = -1;
    for (uint32_t filled = 0;;) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t c = (offset[i] + (uint64_t)next[i] * skip[i]) % m;
            while (entry[c] >= 0) {
                next[i]++;
                c = (offset[i] + (uint64_t)next[i] * skip[i]) % m;
            }
            entry[c] = (int32_t)i;
            next[i]++;
            if (++filled == m)
                return;
        }
    }
}

/* The same without divisions: next[i] is a slot. */
void maglev_add(int32_t *entry, uint32_t m, uint32_t *next, const uint32_t *offset, const uint32_t *skip, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        next[i] = offset[i];
    for (uint32_t j = 0; j < m; j++)
        entry[j] = -1;
    for (uint32_t filled = 0;;) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t c = next[i];
            while (entry[c] >= 0) {
                c += skip[i];
                if (c >= m)
                    c -= m;
            }
            entry[c] = (int32_t)i;
            next[i] = c + skip[i] < m ? c + skip[i] : c + skip[i] - m;
            if (++filled == m)
                return;
        }
    }
}
