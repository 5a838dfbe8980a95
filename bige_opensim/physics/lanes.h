/* LANES frames side by side: one number of each is a vector of the compiler's, as wide as those of the processor, since
 * compilers take wider ones to pieces badly. The sources are compiled once for every width, see native_build.py. */
#ifndef BIGE_LANES_H
#define BIGE_LANES_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef LANES
#define LANES 2
#define LEVEL
#endif
#define JOINED(name, level) name##level
#define AT_LEVEL(name, level) JOINED(name, level)
#define NAMED(name) AT_LEVEL(name, LEVEL) /* of a function that Python calls: one for every width */
#define INLINED static inline __attribute__((always_inline)) /* into what is NAMED */

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

/* Frames from `from` on of rows of `width` numbers; those beyond the last are its copies. */
INLINED void load_rows(const double *rows, int width, int from, int frames, Lanes *into) {
    const double *row[LANES];
    for (int l = 0; l < LANES; l++) row[l] = rows + (size_t)(from + l < frames ? from + l : frames - 1) * (size_t)width;
    for (int c = 0; c < width; c++) {
        Lanes value;
        for (int l = 0; l < LANES; l++) value[l] = row[l][c];
        into[c] = value;
    }
}

INLINED void store_rows(const Lanes *values, int width, int from, int frames, double *rows) {
    int some = frames - from < LANES ? frames - from : LANES;
    for (int l = 0; l < some; l++)
        for (int c = 0; c < width; c++) rows[(size_t)(from + l) * (size_t)width + (size_t)c] = values[c][l];
}

INLINED Lanes root(Lanes v) {
    for (int l = 0; l < LANES; l++) v[l] = __builtin_sqrt(v[l]);
    return v;
}

/* Curves on even grids: rows of `count` nodes (value, slope) that begin at low and go on by step. */
typedef struct {
    int count;
    const double *low, *step, *nodes;
} Curves;

/* Of every lane the cubic of its cell, y0 + m0 t + c2 t^2 + c3 t^3, a straight line beyond the ends: see hermite.py. */
typedef struct { Lanes t, y0, m0, m1, c2, c3, beyond; double step; } Cubic;

INLINED Cubic cubic(const Curves *curves, int row, Lanes x) {
    Cubic c = {.step = curves->step[row]};
    int last = curves->count - 1;
    Lanes u = (x - curves->low[row]) / c.step, inside = clip(u, 0.0, last), cell, y1, d0, d1;
    for (int l = 0; l < LANES; l++) {
        int i = (int)inside[l]; /* of what is not a number this is anything */
        i = i < 0 ? 0 : i < last ? i : last - 1;
        const double *n = curves->nodes + 2 * ((size_t)row * (size_t)curves->count + (size_t)i);
        cell[l] = i;
        c.y0[l] = n[0];
        d0[l] = n[1];
        y1[l] = n[2];
        d1[l] = n[3];
    }
    c.t = inside - cell;
    c.beyond = u - inside;
    c.m0 = d0 * c.step;
    c.m1 = d1 * c.step;
    Lanes rise = y1 - c.y0;
    c.c2 = 3.0 * rise - 2.0 * c.m0 - c.m1;
    c.c3 = c.m0 + c.m1 - 2.0 * rise;
    return c;
}

INLINED Lanes value_of(const Cubic *c) {
    Lanes outside = c->beyond * pick((Mask)(c->beyond > 0.0), c->m1, c->m0);
    return c->y0 + c->t * (c->m0 + c->t * (c->c2 + c->t * c->c3)) + outside;
}

INLINED Lanes slope_of(const Cubic *c) { return (c->m0 + c->t * (2.0 * c->c2 + 3.0 * c->c3 * c->t)) / c->step; }

/* The second derivative, and the third, 0 beyond the ends. */
INLINED Lanes bend_of(const Cubic *c) {
    return (Lanes)((Mask)(c->beyond == 0.0) & (Mask)((2.0 * c->c2 + 6.0 * c->c3 * c->t) / (c->step * c->step)));
}

INLINED Lanes jerk_of(const Cubic *c) {
    return (Lanes)((Mask)(c->beyond == 0.0) & (Mask)(6.0 * c->c3 / (c->step * c->step * c->step)));
}

#endif
