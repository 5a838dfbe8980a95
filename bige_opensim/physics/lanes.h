/* LANES frames side by side: one number of each is a vector of the compiler's, as wide as the processor can be. */
#ifndef BIGE_LANES_H
#define BIGE_LANES_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8 };

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif
#define INLINED static inline __attribute__((always_inline)) /* into what is made WIDE */

typedef double Lanes __attribute__((vector_size(8 * LANES)));
/* All bits of a lane, or none. */
typedef int64_t Mask __attribute__((vector_size(8 * LANES)));

INLINED Lanes all(double value) { return (Lanes){0} + value; }

INLINED Lanes pick(Mask where, Lanes yes, Lanes no) { return (Lanes)((where & (Mask)yes) | (~where & (Mask)no)); }

INLINED Lanes smaller(Lanes a, Lanes b) { return pick((Mask)(a < b), a, b); }

INLINED Lanes larger(Lanes a, Lanes b) { return pick((Mask)(a > b), a, b); }

INLINED Lanes clip(Lanes v, double low, double high) { return smaller(larger(v, all(low)), all(high)); }

INLINED Lanes size(Lanes v) { return (Lanes)((Mask)v & INT64_MAX); }

INLINED int any(Mask m) {
    int64_t found = 0;
    for (int l = 0; l < LANES; l++) found |= m[l];
    return found != 0;
}

/* Memory of `count` vectors, where vectors begin; `memory` is what is freed, NULL where there is none. */
INLINED Lanes *lanes(size_t count, void **memory) {
    *memory = calloc(count + 1, sizeof(Lanes));
    return (Lanes *)(((uintptr_t)*memory + sizeof(Lanes) - 1) / sizeof(Lanes) * sizeof(Lanes));
}

#endif
