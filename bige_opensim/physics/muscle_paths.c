/* Lengths of muscle paths, their slopes and what muscles can pull with, a few frames at a time, and their gradients.
 *
 * The mathematics is in muscles.py and muscle_strength.py: lengths L and slopes dL/dq are polynomials, all of the muscles
 * that span the same coordinates in one product of their monomials with weights, and the active force at full
 * activation is that of a Millard muscle with a rigid tendon. LANES frames are side by side, so that every sum over
 * monomials runs over them in registers; the compiler makes it as wide as the processor is.
 */
#include "lanes.h"

enum { OUTPUTS = 8 };

/* Muscles that span the same coordinates. Monomial k > 0 is number `parent` times coordinate `variable` of the group;
 * outputs are the lengths of the muscles and the slopes of each; by_output (outputs, terms) and by_term (terms, outputs)
 * are the weights; `into` says where an output belongs, among the muscles' lengths and then all spans. Polynomials have
 * their own degrees: output o has no more than its first `terms_of` terms, term k is in no more than the first
 * `outputs_of` outputs, and both fall. */
typedef struct {
    int terms, outputs;
    const int *coordinate, *parent, *variable, *into, *terms_of, *outputs_of;
    const double *by_output, *by_term;
} Group;

/* Of muscle m the spans are first[m] to first[m + 1], each of a coordinate. Fibres as in `Strength`. */
typedef struct {
    int coordinates, muscles, spans, groups;
    const Group *group;
    const int *first, *coordinate, *active_row, *velocity_row;
    const double *centre, *scale;
    const double *strongest, *optimal, *height, *slack, *fastest, *least_along, *least_fibre, *largest_sine;
    Curves curves;
} Muscles;

/* Slopes follow their lengths, and gradients in them too. */
typedef struct {
    Lanes *q, *speed, *x, *length, *slope, *active, *monomial, *of_monomial, *output, *of_x, *of_length, *of_slope, *of_speed;
    void *memory;
} Work;

static int prepare(Work *w, const Muscles *p) {
    int terms = 0, outputs = 0;
    for (int g = 0; g < p->groups; g++) {
        if (p->group[g].terms > terms) terms = p->group[g].terms;
        if (p->group[g].outputs > outputs) outputs = p->group[g].outputs;
    }
    size_t coordinates = (size_t)p->coordinates, muscles = (size_t)p->muscles, spans = (size_t)p->spans;
    size_t some_terms = (size_t)terms + OUTPUTS, some_outputs = (size_t)outputs + OUTPUTS;
    size_t sizes[] = {coordinates, coordinates, coordinates, muscles, spans, muscles, some_terms, some_terms, some_outputs,
                      coordinates, muscles, spans, coordinates};
    Lanes **parts[] = {&w->q, &w->speed, &w->x, &w->length, &w->slope, &w->active, &w->monomial, &w->of_monomial,
                       &w->output, &w->of_x, &w->of_length, &w->of_slope, &w->of_speed};
    enum { PARTS = sizeof(sizes) / sizeof(*sizes) };
    size_t count = 0;
    for (int i = 0; i < PARTS; i++) count += sizes[i];
    Lanes *next = lanes(count, &w->memory);
    if (!w->memory) return 0;
    for (int i = 0; i < PARTS; i++) { *parts[i] = next; next += sizes[i]; }
    return 1;
}

/* into[i] = sum_k weights[i][k] from[k] for `rows` rows of `width` weights, of which the first `counts` count, OUTPUTS
 * at a time; the last few are computed twice. */
INLINED void product(
    const double *weights, int rows, int width, const int *counts, const Lanes *from, Lanes *into
) {
    for (int i = 0; i < rows; i += OUTPUTS) {
        if (i > rows - OUTPUTS && rows >= OUTPUTS) i = rows - OUTPUTS;
        int some = rows < OUTPUTS ? rows : OUTPUTS;
        const double *row[OUTPUTS];
        for (int j = 0; j < OUTPUTS; j++) row[j] = weights + (size_t)(i + (j < some ? j : 0)) * (size_t)width;
        int count = counts[i];
        Lanes a = all(0.0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
        for (int k = 0; k < count; k++) {
            Lanes m = from[k];
            a += row[0][k] * m;
            b += row[1][k] * m;
            c += row[2][k] * m;
            d += row[3][k] * m;
            e += row[4][k] * m;
            f += row[5][k] * m;
            g += row[6][k] * m;
            h += row[7][k] * m;
        }
        const Lanes sums[OUTPUTS] = {a, b, c, d, e, f, g, h};
        for (int j = 0; j < some; j++) into[i + j] = sums[j];
    }
}

INLINED void monomials(const Group *g, const Lanes *x, Lanes *monomial) {
    Lanes one = {0};
    monomial[0] = one + 1.0;
    for (int k = 1; k < g->terms; k++) monomial[k] = monomial[g->parent[k]] * x[g->coordinate[g->variable[k]]];
}

/* Coordinates as the monomials take them, and speeds. */
INLINED void load(const Muscles *p, const double *q, const double *speed, int from, int frames, Work *w) {
    load_rows(q, p->coordinates, from, frames, w->q);
    load_rows(speed, p->coordinates, from, frames, w->speed);
    for (int c = 0; c < p->coordinates; c++) w->x[c] = (w->q[c] - p->centre[c]) / p->scale[c];
}

INLINED void paths(const Muscles *p, Work *w) {
    for (int i = 0; i < p->groups; i++) {
        const Group *g = p->group + i;
        monomials(g, w->x, w->monomial);
        product(g->by_output, g->outputs, g->terms, g->terms_of, w->monomial, w->output);
        for (int o = 0; o < g->outputs; o++) w->length[g->into[o]] = w->output[o];
    }
}

/* Active force of muscle m, N, and its derivatives in length and speed; 0 where its fibre is shorter than it may be. */
INLINED Lanes force(const Muscles *p, int m, Lanes length, Lanes speed, Lanes *of_length, Lanes *of_speed) {
    Lanes along = length - p->slack[m], fibre = root(p->height[m] * p->height[m] + along * along);
    double least = p->least_along[m] > 1e-9 ? p->least_along[m] : 1e-9;
    Mask able = (Mask)(along > least) & (Mask)(fibre > p->least_fibre[m]), unknown = (Mask)(along != along);
    Lanes cosine = along / fibre, l = fibre / p->optimal[m], v = speed * cosine / p->fastest[m];
    Cubic active = cubic(&p->curves, p->active_row[m], l), moving = cubic(&p->curves, p->velocity_row[m], v);
    Lanes fl = value_of(&active), dfl = slope_of(&active), fv = value_of(&moving), dfv = slope_of(&moving);
    Lanes l_of_length = cosine / p->optimal[m], free = p->height[m] / l;
    Mask bent = (Mask)(free < p->largest_sine[m]);
    Lanes sine = pick(bent, free, all(p->largest_sine[m])), of_sine = (Lanes)(bent & (Mask)(-free / l * l_of_length));
    Lanes c = root(1.0 - sine * sine), v_of_length = speed * (1.0 - cosine * cosine) / fibre / p->fastest[m];
    Lanes rising = (dfl * l_of_length * fv + fl * dfv * v_of_length) * c - fl * fv * sine * of_sine / c;
    *of_length = (Lanes)(able & (Mask)(p->strongest[m] * rising));
    *of_speed = (Lanes)(able & (Mask)(p->strongest[m] * fl * dfv * cosine / p->fastest[m] * c));
    return pick(unknown, along, (Lanes)(able & (Mask)(p->strongest[m] * fl * fv * c)));
}

INLINED Lanes rate(const Muscles *p, const Work *w, int m) {
    Lanes sum = {0};
    for (int s = p->first[m]; s < p->first[m + 1]; s++) sum += w->slope[s] * w->speed[p->coordinate[s]];
    return sum;
}

/* Arrays of all frames: q and speed (frames, coordinates); length and active (frames, muscles), slope (frames, spans).
 * -1 is returned where there is no memory. */
int NAMED(bige_muscle_paths)(
    int frames, const Muscles *p, const double *q, const double *speed, double *length, double *slope, double *active
) {
    Work w;
    if (!prepare(&w, p)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load(p, q, speed, from, frames, &w);
        paths(p, &w);
        for (int m = 0; m < p->muscles; m++) {
            Lanes ignored[2];
            w.active[m] = force(p, m, w.length[m], rate(p, &w, m), ignored, ignored + 1);
        }
        store_rows(w.length, p->muscles, from, frames, length);
        store_rows(w.slope, p->spans, from, frames, slope);
        store_rows(w.active, p->muscles, from, frames, active);
    }
    free(w.memory);
    return 0;
}

/* Gradients in coordinates and speeds from those in lengths and slopes, to which muscle m adds what it has in its active
 * force, `asked`. */
INLINED void to_force(const Muscles *p, Work *w, int m, Lanes asked, Lanes of_length, Lanes of_rate) {
    w->of_length[m] += asked * of_length;
    for (int s = p->first[m]; s < p->first[m + 1]; s++) {
        w->of_slope[s] += asked * of_rate * w->speed[p->coordinate[s]];
        w->of_speed[p->coordinate[s]] += asked * of_rate * w->slope[s];
    }
}

INLINED void to_paths(const Muscles *p, Work *w) {
    for (int c = 0; c < p->coordinates; c++) w->of_x[c] = all(0.0);
    for (int i = 0; i < p->groups; i++) {
        const Group *g = p->group + i;
        monomials(g, w->x, w->monomial);
        for (int o = 0; o < g->outputs; o++) w->output[o] = w->of_length[g->into[o]];
        product(g->by_term, g->terms, g->outputs, g->outputs_of, w->output, w->of_monomial);
        for (int k = g->terms - 1; k > 0; k--) {
            int c = g->coordinate[g->variable[k]];
            w->of_x[c] += w->of_monomial[k] * w->monomial[g->parent[k]];
            w->of_monomial[g->parent[k]] += w->of_monomial[k] * w->x[c];
        }
    }
    for (int c = 0; c < p->coordinates; c++) w->of_x[c] /= p->scale[c];
}

/* Gradients in q and speed of a function whose own in the three results are the asked_ ones. */
int NAMED(bige_muscle_paths_pullback)(
    int frames, const Muscles *p, const double *q, const double *speed, const double *asked_length,
    const double *asked_slope, const double *asked_active, double *to_q, double *to_speed
) {
    Work w;
    if (!prepare(&w, p)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load(p, q, speed, from, frames, &w);
        paths(p, &w);
        load_rows(asked_length, p->muscles, from, frames, w.of_length);
        load_rows(asked_slope, p->spans, from, frames, w.of_slope);
        load_rows(asked_active, p->muscles, from, frames, w.active);
        for (int c = 0; c < p->coordinates; c++) w.of_speed[c] = all(0.0);
        for (int m = 0; m < p->muscles; m++) {
            Lanes of_length, of_rate;
            force(p, m, w.length[m], rate(p, &w, m), &of_length, &of_rate);
            to_force(p, &w, m, w.active[m], of_length, of_rate);
        }
        to_paths(p, &w);
        store_rows(w.of_x, p->coordinates, from, frames, to_q);
        store_rows(w.of_speed, p->coordinates, from, frames, to_speed);
    }
    free(w.memory);
    return 0;
}

/* Generalized forces of the muscles at full activation, pull (frames, spans): the active force times minus the slope. */
int NAMED(bige_muscle_pulls)(int frames, const Muscles *p, const double *q, const double *speed, double *pull) {
    Work w;
    if (!prepare(&w, p)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load(p, q, speed, from, frames, &w);
        paths(p, &w);
        for (int m = 0; m < p->muscles; m++) {
            Lanes ignored[2], active = force(p, m, w.length[m], rate(p, &w, m), ignored, ignored + 1);
            for (int s = p->first[m]; s < p->first[m + 1]; s++) w.of_slope[s] = -active * w.slope[s];
        }
        store_rows(w.of_slope, p->spans, from, frames, pull);
    }
    free(w.memory);
    return 0;
}

int NAMED(bige_muscle_pulls_pullback)(
    int frames, const Muscles *p, const double *q, const double *speed, const double *asked_pull, double *to_q,
    double *to_speed
) {
    Work w;
    if (!prepare(&w, p)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load(p, q, speed, from, frames, &w);
        paths(p, &w);
        load_rows(asked_pull, p->spans, from, frames, w.of_slope);
        for (int c = 0; c < p->coordinates; c++) w.of_speed[c] = all(0.0);
        for (int m = 0; m < p->muscles; m++) {
            Lanes of_length, of_rate, asked = all(0.0);
            Lanes active = force(p, m, w.length[m], rate(p, &w, m), &of_length, &of_rate);
            for (int s = p->first[m]; s < p->first[m + 1]; s++) {
                asked -= w.of_slope[s] * w.slope[s];
                w.of_slope[s] *= -active;
            }
            w.of_length[m] = all(0.0);
            to_force(p, &w, m, asked, of_length, of_rate);
        }
        to_paths(p, &w);
        store_rows(w.of_x, p->coordinates, from, frames, to_q);
        store_rows(w.of_speed, p->coordinates, from, frames, to_speed);
    }
    free(w.memory);
    return 0;
}
