/* Lengths of muscle paths, their slopes and what muscles can pull with, a few frames at a time, and their gradients.
 *
 * The mathematics is in muscles.py and muscle_strength.py: lengths L and slopes dL/dq are polynomials, all of the muscles
 * that span the same coordinates in one product of their monomials with weights, and the active force at full
 * activation is that of a Millard muscle with a rigid tendon. LANES frames are side by side, so that every sum over
 * monomials runs over them in registers; the compiler makes it as wide as the processor is.
 */
#include "lanes.h"
#include <math.h>

enum { OUTPUTS = 4, CURVE = 2 };

/* Muscles that span the same coordinates. Monomial k > 0 is number `parent` times coordinate `variable` of the group;
 * outputs are the lengths of the muscles, then the slopes of each; by_output (outputs, terms) and by_term (terms,
 * outputs) are the weights; `into` says where an output belongs, among muscles or among spans. */
typedef struct {
    int variables, terms, muscles, outputs;
    const int *coordinate, *parent, *variable, *into;
    const double *by_output, *by_term;
} Group;

/* Of muscle m the spans are first[m] to first[m + 1], each of a coordinate. Fibres as in `Strength`; curves are rows of
 * `nodes` (row, node, value and slope) on grids that begin at low and go on by step. */
typedef struct {
    int coordinates, muscles, spans, groups, nodes_of_curve;
    const Group *group;
    const int *first, *coordinate, *active_row, *velocity_row;
    const double *centre, *scale;
    const double *strongest, *optimal, *height, *slack, *fastest, *least_along, *least_fibre, *largest_sine;
    const double *low, *step, *nodes;
} Muscles;

typedef struct {
    Lanes *x, *length, *slope, *monomial, *of_monomial, *output, *of_x, *of_length, *of_slope;
    void *memory;
} Work;

static int prepare(Work *w, const Muscles *p) {
    int terms = 0, outputs = 0;
    for (int g = 0; g < p->groups; g++) {
        if (p->group[g].terms > terms) terms = p->group[g].terms;
        if (p->group[g].outputs > outputs) outputs = p->group[g].outputs;
    }
    size_t sizes[] = {(size_t)p->coordinates, (size_t)p->muscles, (size_t)p->spans, (size_t)terms + OUTPUTS,
                      (size_t)terms + OUTPUTS, (size_t)outputs + OUTPUTS, (size_t)p->coordinates, (size_t)p->muscles,
                      (size_t)p->spans};
    Lanes **parts[] = {&w->x, &w->length, &w->slope, &w->monomial, &w->of_monomial, &w->output, &w->of_x, &w->of_length,
                       &w->of_slope};
    size_t count = 0;
    for (int i = 0; i < 9; i++) count += sizes[i];
    Lanes *next = lanes(count, &w->memory);
    if (!w->memory) return 0;
    for (int i = 0; i < 9; i++) { *parts[i] = next; next += sizes[i]; }
    return 1;
}

/* into[i] = sum_k weights[i][k] from[k] for `rows` rows, OUTPUTS at a time; the last few are computed twice. */
INLINED void product(const double *weights, int rows, int count, const Lanes *from, Lanes *into) {
    for (int i = 0; i < rows; i += OUTPUTS) {
        if (i > rows - OUTPUTS && rows >= OUTPUTS) i = rows - OUTPUTS;
        int some = rows < OUTPUTS ? rows : OUTPUTS;
        const double *row[OUTPUTS];
        for (int j = 0; j < OUTPUTS; j++) row[j] = weights + (size_t)(i + (j < some ? j : 0)) * count;
        Lanes a = {0}, b = {0}, c = {0}, d = {0};
        for (int k = 0; k < count; k++) {
            Lanes m = from[k];
            a += row[0][k] * m;
            b += row[1][k] * m;
            c += row[2][k] * m;
            d += row[3][k] * m;
        }
        Lanes sums[OUTPUTS] = {a, b, c, d};
        for (int j = 0; j < some; j++) into[i + j] = sums[j];
    }
}

INLINED void monomials(const Group *g, const Lanes *x, Lanes *monomial) {
    Lanes one = {0};
    monomial[0] = one + 1.0;
    for (int k = 1; k < g->terms; k++) monomial[k] = monomial[g->parent[k]] * x[g->coordinate[g->variable[k]]];
}

/* x of some frames; those beyond the last are its copies. */
INLINED void load(const Muscles *p, const double *q, int from, int frames, Lanes *x) {
    for (int t = 0; t < LANES; t++) {
        const double *row = q + (size_t)(from + t < frames ? from + t : frames - 1) * p->coordinates;
        for (int c = 0; c < p->coordinates; c++) x[c][t] = (row[c] - p->centre[c]) / p->scale[c];
    }
}

INLINED void paths(const Muscles *p, Work *w) {
    for (int i = 0; i < p->groups; i++) {
        const Group *g = p->group + i;
        monomials(g, w->x, w->monomial);
        product(g->by_output, g->outputs, g->terms, w->monomial, w->output);
        for (int o = 0; o < g->outputs; o++)
            *(o < g->muscles ? w->length + g->into[o] : w->slope + g->into[o]) = w->output[o];
    }
}

/* Value and derivative of a curve at x, a straight line beyond its ends; see `hermite`. */
INLINED void curve(const Muscles *p, int row, double x, double *value, double *derivative) {
    double step = p->step[row], u = (x - p->low[row]) / step;
    int last = p->nodes_of_curve - 1;
    double inside = u < 0.0 ? 0.0 : u > last ? last : u;
    int cell = (int)inside < last ? (int)inside : last - 1;
    const double *n = p->nodes + ((size_t)row * p->nodes_of_curve + (size_t)cell) * CURVE;
    double t = inside - cell, m0 = n[1] * step, m1 = n[3] * step, rise = n[2] - n[0], beyond = u - inside;
    double c2 = 3.0 * rise - 2.0 * m0 - m1, c3 = m0 + m1 - 2.0 * rise;
    *value = n[0] + t * (m0 + t * (c2 + t * c3)) + beyond * (beyond > 0.0 ? m1 : m0);
    *derivative = (m0 + t * (2.0 * c2 + 3.0 * c3 * t)) / step;
}

/* Active force of muscle m, N, and its derivatives in length and speed; 0 where its fibre is shorter than it may be. */
INLINED double force(const Muscles *p, int m, double length, double speed, double *of_length, double *of_speed) {
    double along = length - p->slack[m], height = p->height[m];
    double fibre = sqrt(height * height + along * along);
    *of_length = *of_speed = 0.0;
    if (!(along > p->least_along[m] && along > 1e-9 && fibre > p->least_fibre[m])) {
        return isfinite(along) ? 0.0 : along;
    }
    double cosine = along / fibre, l = fibre / p->optimal[m], v = speed * cosine / p->fastest[m];
    double fl, dfl, fv, dfv;
    curve(p, p->active_row[m], l, &fl, &dfl);
    curve(p, p->velocity_row[m], v, &fv, &dfv);
    double sine = height / l, of_sine = 0.0, l_of_length = cosine / p->optimal[m];
    if (sine < p->largest_sine[m]) of_sine = -sine / l * l_of_length;
    else sine = p->largest_sine[m];
    double c = sqrt(1.0 - sine * sine), v_of_length = speed * (1.0 - cosine * cosine) / fibre / p->fastest[m];
    *of_length = p->strongest[m] * ((dfl * l_of_length * fv + fl * dfv * v_of_length) * c - fl * fv * sine * of_sine / c);
    *of_speed = p->strongest[m] * fl * dfv * cosine / p->fastest[m] * c;
    return p->strongest[m] * fl * fv * c;
}

/* Arrays of all frames: q and speed (frames, coordinates); length and active (frames, muscles), slope (frames, spans).
 * -1 is returned where there is no memory. */
WIDE int bige_muscle_paths(
    int frames, const Muscles *p, const double *q, const double *speed, double *length, double *slope, double *active
) {
    Work w;
    if (!prepare(&w, p)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load(p, q, from, frames, w.x);
        paths(p, &w);
        int some = frames - from < LANES ? frames - from : LANES;
        for (int t = 0; t < some; t++) {
            size_t at = (size_t)(from + t);
            const double *moving = speed + at * p->coordinates;
            for (int s = 0; s < p->spans; s++) slope[at * p->spans + s] = w.slope[s][t];
            for (int m = 0; m < p->muscles; m++) {
                double rate = 0.0, ignored[2];
                for (int s = p->first[m]; s < p->first[m + 1]; s++) rate += w.slope[s][t] * moving[p->coordinate[s]];
                length[at * p->muscles + m] = w.length[m][t];
                active[at * p->muscles + m] = force(p, m, w.length[m][t], rate, ignored, ignored + 1);
            }
        }
    }
    free(w.memory);
    return 0;
}

/* Gradients in q and speed of a function whose own in the three results are the asked_ ones. */
WIDE int bige_muscle_paths_pullback(
    int frames, const Muscles *p, const double *q, const double *speed, const double *asked_length,
    const double *asked_slope, const double *asked_active, double *to_q, double *to_speed
) {
    Work w;
    if (!prepare(&w, p)) return -1;
    memset(to_speed, 0, (size_t)frames * p->coordinates * sizeof(double));
    for (int from = 0; from < frames; from += LANES) {
        load(p, q, from, frames, w.x);
        paths(p, &w);
        int some = frames - from < LANES ? frames - from : LANES;
        memset(w.of_slope, 0, (size_t)p->spans * sizeof(Lanes));
        memset(w.of_length, 0, (size_t)p->muscles * sizeof(Lanes));
        memset(w.of_x, 0, (size_t)p->coordinates * sizeof(Lanes));
        for (int t = 0; t < some; t++) {
            size_t at = (size_t)(from + t);
            const double *moving = speed + at * p->coordinates;
            double *of_moving = to_speed + at * p->coordinates;
            for (int m = 0; m < p->muscles; m++) {
                double rate = 0.0, of_length, of_rate, asked = asked_active[at * p->muscles + m];
                for (int s = p->first[m]; s < p->first[m + 1]; s++) rate += w.slope[s][t] * moving[p->coordinate[s]];
                force(p, m, w.length[m][t], rate, &of_length, &of_rate);
                w.of_length[m][t] = asked_length[at * p->muscles + m] + asked * of_length;
                for (int s = p->first[m]; s < p->first[m + 1]; s++) {
                    w.of_slope[s][t] = asked_slope[at * p->spans + s] + asked * of_rate * moving[p->coordinate[s]];
                    of_moving[p->coordinate[s]] += asked * of_rate * w.slope[s][t];
                }
            }
        }
        for (int i = 0; i < p->groups; i++) {
            const Group *g = p->group + i;
            monomials(g, w.x, w.monomial);
            for (int o = 0; o < g->outputs; o++)
                w.output[o] = o < g->muscles ? w.of_length[g->into[o]] : w.of_slope[g->into[o]];
            product(g->by_term, g->terms, g->outputs, w.output, w.of_monomial);
            for (int k = g->terms - 1; k > 0; k--) {
                int c = g->coordinate[g->variable[k]];
                w.of_x[c] += w.of_monomial[k] * w.monomial[g->parent[k]];
                w.of_monomial[g->parent[k]] += w.of_monomial[k] * w.x[c];
            }
        }
        for (int t = 0; t < some; t++)
            for (int c = 0; c < p->coordinates; c++)
                to_q[(size_t)(from + t) * p->coordinates + c] = w.of_x[c][t] / p->scale[c];
    }
    free(w.memory);
    return 0;
}
