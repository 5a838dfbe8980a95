/* Newton's method on the dual of the least-effort problem with squared costs, LANES frames at a time.
 *
 * The mathematics, and the same method for whole batches, are in least_effort.py: the pull of every unknown is
 * v = A' lam, the unknown x = clip(v / (2 w), l, u), the gradient g = b - A x - c lam, and a step solves
 * (A D A' + diag(c)) s = g, D = 1 / (2 w) on the unknowns inside their box. A muscle moves few coordinates and pulls at
 * a bound count for nothing in A D A', so that over the entries of A that are not zero this takes a tenth of the
 * products that dense batches take. Lanes walk through a part of the frames each, in step, so that a frame can begin
 * where the one before it ended; those that are solved wait for the others.
 */
#include "lanes.h"
#include <math.h>

enum { SOLVED = 0, ITERATION_LIMIT = 1, NOT_FINITE = 2 };

/* How frames start: without boxes, from `multiplier`, or where the frame before ended. */
enum { COLD = 0, GIVEN = 1, NEXT = 2 };

/* Trials of how far to go along a step, and how much of the dual's slope may be left there. */
enum { TRIALS = 40 };
static const double FLAT = 0.1;

/* `first` (unknowns + 1), `row` and `place` (entries) say where A's entries are, by unknown, where they come as a list
 * of `all_entries` a frame; they are NULL where A comes as a matrix. */
typedef struct {
    int all_coordinates, all_unknowns, all_entries, coordinates, unknowns;
    const int *rows, *columns, *first, *row, *place;
    const double *weight, *lower, *upper, *compliance;
} Block;

typedef struct {
    const Block *block;
    int coordinates, unknowns;
    /* entries of A that are not zero in any lane, by unknown, and the row of each */
    int *first, *row;
    Lanes *entry;
    /* per unknown; response is 1 / (2 w) */
    double *lower, *upper, *response;
    Lanes *pull, *along, *asked;
    /* per coordinate; right is b, hessian the lower half of a matrix, inverse that of its factor's diagonal */
    double *compliance;
    Lanes *right, *multiplier, *gradient, *step, *hessian, *scaled, *inverse;
    void *memory, *numbers, *places;
} Work;

/* Frames of all lanes at one step of their walk; those of lanes that are through, or not finite, are not to be used. */
typedef struct {
    size_t frame[LANES];
    Mask used;
} Step;

static size_t stride(const Block *block) {
    return block->place ? (size_t)block->all_entries : (size_t)block->all_coordinates * (size_t)block->all_unknowns;
}

static void done_with(Work *k) {
    free(k->memory);
    free(k->numbers);
    free(k->places);
}

static int prepare(Work *k, const Block *block) {
    size_t n = (size_t)block->coordinates, m = (size_t)block->unknowns;
    size_t entries = block->place ? (size_t)block->first[m] : n * m;
    *k = (Work){.block = block, .coordinates = block->coordinates, .unknowns = block->unknowns};
    Lanes *next = lanes(entries + 3 * m + 6 * n + n * (n + 1) / 2, &k->memory);
    double *number = malloc((3 * m + n + 1) * sizeof(double));
    int *place = malloc((m + 1 + entries) * sizeof(int));
    k->numbers = number;
    k->places = place;
    if (!k->memory || !number || !place) {
        done_with(k);
        return 0;
    }
    Lanes **of_unknowns[] = {&k->pull, &k->along, &k->asked};
    Lanes **of_coordinates[] = {&k->right, &k->multiplier, &k->gradient, &k->step, &k->scaled, &k->inverse};
    for (int p = 0; p < 3; p++) { *of_unknowns[p] = next; next += m; }
    for (int p = 0; p < 6; p++) { *of_coordinates[p] = next; next += n; }
    k->entry = next;
    k->hessian = next + entries;
    k->first = place;
    k->row = place + m + 1;
    k->lower = number;
    k->upper = number + m;
    k->response = number + 2 * m;
    k->compliance = number + 3 * m;
    if (block->place) {
        memcpy(k->first, block->first, (m + 1) * sizeof(int));
        memcpy(k->row, block->row, entries * sizeof(int));
    }
    for (size_t j = 0; j < m; j++) {
        k->response[j] = 0.5 / block->weight[block->columns[j]];
        k->lower[j] = block->lower[block->columns[j]];
        k->upper[j] = block->upper[block->columns[j]];
    }
    for (size_t i = 0; i < n; i++) k->compliance[i] = block->compliance[block->rows[i]];
    return 1;
}

/* The frames of a step, of which lane l has those from l * `part` on. */
INLINED Step step_of(int at, int part, int frames, const int *status) {
    Step step;
    for (int l = 0; l < LANES; l++) {
        int t = l * part + at;
        int used = at < part && t < frames && status[t] != NOT_FINITE;
        step.frame[l] = (size_t)(used ? t : 0);
        step.used[l] = used ? -1 : 0;
    }
    return step;
}

INLINED void of_block(const Work *k, const Step *step, const double *all_frames, Lanes *own) {
    for (int i = 0; i < k->coordinates; i++) {
        const double *all = all_frames + k->block->rows[i];
        Lanes value;
        for (int l = 0; l < LANES; l++) value[l] = all[step->frame[l] * (size_t)k->block->all_coordinates];
        own[i] = (Lanes)((Mask)value & step->used);
    }
}

/* Entries of A; lanes that are not used have none. */
INLINED void gather(Work *k, const Step *step, const double *A) {
    const Block *block = k->block;
    const double *frame[LANES];
    for (int l = 0; l < LANES; l++) frame[l] = A + step->frame[l] * stride(block);
    if (block->place) {
        for (int e = 0; e < k->first[k->unknowns]; e++) {
            Lanes a;
            for (int l = 0; l < LANES; l++) a[l] = frame[l][block->place[e]];
            k->entry[e] = (Lanes)((Mask)a & step->used);
        }
        return;
    }
    int found = 0;
    for (int j = 0; j < k->unknowns; j++) {
        k->first[j] = found;
        for (int i = 0; i < k->coordinates; i++) {
            size_t place = (size_t)block->rows[i] * (size_t)block->all_unknowns + (size_t)block->columns[j];
            Lanes a;
            for (int l = 0; l < LANES; l++) a[l] = frame[l][place];
            a = (Lanes)((Mask)a & step->used);
            if (!any((Mask)(a != 0.0))) continue;
            k->row[found] = i;
            k->entry[found++] = a;
        }
    }
    k->first[k->unknowns] = found;
}

/* pull = A' lam */
INLINED void pulls(const Work *k, const Lanes *lam, Lanes *pull) {
    for (int j = 0; j < k->unknowns; j++) {
        Lanes sum = {0};
        for (int e = k->first[j]; e < k->first[j + 1]; e++) sum += k->entry[e] * lam[k->row[e]];
        pull[j] = sum;
    }
}

INLINED Lanes unknown(const Work *k, int j, Lanes pull) {
    return clip(pull * k->response[j], k->lower[j], k->upper[j]);
}

INLINED Mask inside(const Work *k, int j) {
    Lanes v = k->pull[j] * k->response[j];
    return (Mask)((v - k->lower[j]) * (k->upper[j] - v) > 0.0);
}

/* b - A x - c lam, and the largest of it */
INLINED Lanes gradient(Work *k) {
    for (int i = 0; i < k->coordinates; i++) k->gradient[i] = k->right[i] - k->compliance[i] * k->multiplier[i];
    for (int j = 0; j < k->unknowns; j++) {
        Lanes x = unknown(k, j, k->pull[j]);
        for (int e = k->first[j]; e < k->first[j + 1]; e++) k->gradient[k->row[e]] -= k->entry[e] * x;
    }
    Lanes largest = {0};
    for (int i = 0; i < k->coordinates; i++) {
        Lanes missing = size(k->gradient[i]);
        largest = pick((Mask)(missing > largest) | (Mask)(missing != missing), missing, largest);
    }
    return largest;
}

INLINED Lanes *line(const Work *k, int i) { return k->hessian + (size_t)i * (size_t)(i + 1) / 2; }

/* The lower half of A D A' + diag(c); with `boxes` 0 every unknown counts as inside its box. */
INLINED void hessian(Work *k, int boxes) {
    int n = k->coordinates;
    memset(k->hessian, 0, (size_t)n * (size_t)(n + 1) / 2 * sizeof(Lanes));
    for (int j = 0; j < k->unknowns; j++) {
        Mask counts = boxes ? inside(k, j) : ~(Mask){0};
        if (boxes && !any(counts)) continue;
        Lanes response = (Lanes)(counts & (Mask)all(k->response[j]));
        for (int e = k->first[j]; e < k->first[j + 1]; e++) {
            Lanes *of = line(k, k->row[e]), a = k->entry[e] * response;
            for (int f = k->first[j]; f <= e; f++) of[k->row[f]] += a * k->entry[f];
        }
    }
    for (int i = 0; i < n; i++) line(k, i)[i] += k->compliance[i];
}

/* step = hessian^-1 right, by the factors L D L' in place; which lanes have a matrix that is positive definite. */
INLINED Mask newton_step(Work *k, const Lanes *right, Lanes *step) {
    int n = k->coordinates;
    Mask good = ~(Mask){0};
    for (int j = 0; j < n; j++) {
        Lanes *own = line(k, j), pivot = own[j];
        for (int i = 0; i < j; i++) {
            k->scaled[i] = own[i];
            own[i] *= k->inverse[i];
            pivot -= own[i] * k->scaled[i];
        }
        Mask positive = (Mask)(pivot > 0.0);
        good &= positive;
        k->inverse[j] = 1.0 / pick(positive, pivot, all(1.0));
        for (int i = j + 1; i < n; i++) {
            Lanes *below = line(k, i), sum = below[j];
            for (int p = 0; p < j; p++) sum -= below[p] * own[p];
            below[j] = sum;
        }
    }
    for (int i = 0; i < n; i++) {
        Lanes sum = right[i];
        for (int j = 0; j < i; j++) sum -= line(k, i)[j] * step[j];
        step[i] = sum;
    }
    for (int i = 0; i < n; i++) step[i] *= k->inverse[i];
    for (int i = n - 1; i > 0; i--)
        for (int j = 0; j < i; j++) step[j] -= line(k, i)[j] * step[i];
    return good;
}

/* How far to go along the step: all of it, unless the dual falls there; then to where it hardly rises any more. Its
 * slope, b - A x - c lam along the step, falls all the way, and is found by secants and halves in turn. */
INLINED Lanes length(Work *k, Mask active) {
    int n = k->coordinates;
    pulls(k, k->step, k->along);
    Lanes start = {0}, rising = {0}, falling = {0}, full, far = all(1.0), low = {0}, high = all(1.0), at_low, at_high;
    for (int i = 0; i < n; i++) {
        Lanes s = k->step[i];
        start += k->gradient[i] * s;
        falling += k->compliance[i] * s * s;
        rising += (k->right[i] - k->compliance[i] * k->multiplier[i]) * s;
    }
    full = rising - falling;
    for (int j = 0; j < k->unknowns; j++) full -= k->along[j] * unknown(k, j, k->pull[j] + k->along[j]);
    Mask searched = active & (Mask)(full < -FLAT * start);
    at_low = start;
    at_high = full;
    for (int trial = 0; trial < TRIALS && any(searched); trial++) {
        Lanes at = 0.5 * (low + high);
        if (trial % 2 == 0) at = low + (high - low) * at_low / pick(searched, at_low - at_high, all(1.0));
        Lanes there = rising - at * falling;
        for (int j = 0; j < k->unknowns; j++) there -= k->along[j] * unknown(k, j, k->pull[j] + at * k->along[j]);
        Mask up = (Mask)(there > 0.0), found = (Mask)(size(there) <= FLAT * start);
        low = pick(up, at, low);
        at_low = pick(up, there, at_low);
        high = pick(up, high, at);
        at_high = pick(up, at_high, there);
        far = pick(searched, pick(found, at, low), far);
        searched &= ~found;
    }
    return far;
}

/* Solve all lanes that are used; status, imbalance and iterations of each. */
INLINED void newton(Work *k, Mask used, Mask started, Lanes enough, int most, int *status, Lanes *imbalance, int *spent) {
    if (any(used & ~started)) {
        hessian(k, 0);
        Mask good = newton_step(k, k->right, k->step) & used & ~started;
        for (int i = 0; i < k->coordinates; i++) k->multiplier[i] = pick(good, k->step[i], k->multiplier[i]);
    }
    Mask active = used;
    for (int iteration = 0;; iteration++) {
        pulls(k, k->multiplier, k->pull);
        *imbalance = gradient(k);
        Mask solved = active & (Mask)(*imbalance <= enough);
        for (int l = 0; l < LANES; l++) {
            if (active[l]) spent[l] = iteration;
            if (solved[l]) status[l] = SOLVED;
        }
        active &= ~solved;
        if (iteration == most || !any(active)) return;
        hessian(k, 1);
        active &= newton_step(k, k->gradient, k->step);
        Lanes far = (Lanes)(active & (Mask)length(k, active));
        for (int i = 0; i < k->coordinates; i++) k->multiplier[i] += pick(active, far * k->step[i], (Lanes){0});
    }
}

/* Arrays of all frames: A (frames, all coordinates, all unknowns), or (frames, all entries); b, multiplier, reserve, and
 * what ends in _b or _multiplier (frames, all coordinates); x and asked_x (frames, all unknowns); enough, imbalance,
 * status and iterations (frames). -1 is returned where there is no memory. */

/* Solve one block of every frame. Frames that are NOT_FINITE are left alone, and status, imbalance and iterations take
 * the worse of what they are and what this block brings. */
int NAMED(bige_least_effort)(
    int frames, const Block *block, const double *A, const double *b, const double *enough, int started, int most,
    double *multiplier, double *x, double *reserve, double *imbalance, int *status, int *iterations
) {
    Work k;
    if (!prepare(&k, block)) return -1;
    size_t N = (size_t)block->all_coordinates, M = (size_t)block->all_unknowns;
    int part = (frames + LANES - 1) / LANES;
    Mask solved_before = {0};
    for (int at = 0; at < part; at++) {
        Step step = step_of(at, part, frames, status);
        gather(&k, &step, A);
        of_block(&k, &step, b, k.right);
        if (started == GIVEN) of_block(&k, &step, multiplier, k.multiplier);
        Mask go_on = started == GIVEN ? step.used : started == NEXT ? solved_before : (Mask){0};
        Lanes accepted, missing;
        int found[LANES], spent[LANES] = {0};
        for (int l = 0; l < LANES; l++) {
            accepted[l] = enough[step.frame[l]];
            found[l] = ITERATION_LIMIT;
        }
        for (int i = 0; i < k.coordinates; i++) k.multiplier[i] = (Lanes)((Mask)k.multiplier[i] & go_on);
        newton(&k, step.used, go_on, accepted, most, found, &missing, spent);
        for (int l = 0; l < LANES; l++) {
            solved_before[l] = step.used[l] && found[l] == SOLVED ? -1 : 0;
            if (!step.used[l]) continue;
            size_t t = step.frame[l];
            if (status[t] == SOLVED) status[t] = found[l];
            if (spent[l] > iterations[t]) iterations[t] = spent[l];
            imbalance[t] = fmax(imbalance[t], missing[l]);
            for (int i = 0; i < k.coordinates; i++) {
                multiplier[t * N + (size_t)block->rows[i]] = k.multiplier[i][l];
                reserve[t * N + (size_t)block->rows[i]] = k.compliance[i] * k.multiplier[i][l];
            }
        }
        for (int j = 0; j < k.unknowns; j++) {
            Lanes value = unknown(&k, j, k.pull[j]);
            for (int l = 0; l < LANES; l++)
                if (step.used[l]) x[step.frame[l] * M + (size_t)block->columns[j]] = value[l];
        }
    }
    done_with(&k);
    return 0;
}

/* Gradients of a function of x and of the multipliers, whose own gradients are asked_x and asked_multiplier.
 *
 * With y = D asked_x and H = A D A' + diag(c), the multipliers' adjoint is mu = H^-1 (asked_multiplier + A y), and
 * of b it is mu, of A it is lam (y - D A' mu)' - mu x'. */
int NAMED(bige_least_effort_pullback)(
    int frames, const Block *block, const double *A, const double *multiplier, const double *asked_x,
    const double *asked_multiplier, const int *status, double *to_A, double *to_b
) {
    Work k;
    if (!prepare(&k, block)) return -1;
    size_t N = (size_t)block->all_coordinates, M = (size_t)block->all_unknowns;
    int part = (frames + LANES - 1) / LANES;
    for (int at = 0; at < part; at++) {
        Step step = step_of(at, part, frames, status);
        gather(&k, &step, A);
        of_block(&k, &step, multiplier, k.multiplier);
        of_block(&k, &step, asked_multiplier, k.gradient);
        pulls(&k, k.multiplier, k.pull);
        for (int j = 0; j < k.unknowns; j++) {
            Lanes asked;
            for (int l = 0; l < LANES; l++) asked[l] = asked_x[step.frame[l] * M + (size_t)block->columns[j]];
            k.asked[j] = (Lanes)(inside(&k, j) & step.used & (Mask)(k.response[j] * asked));
            for (int e = k.first[j]; e < k.first[j + 1]; e++) k.gradient[k.row[e]] += k.entry[e] * k.asked[j];
        }
        hessian(&k, 1);
        Mask good = newton_step(&k, k.gradient, k.step) & step.used;
        pulls(&k, k.step, k.along);
        for (int j = 0; j < k.unknowns; j++) {
            Lanes z = k.asked[j] - (Lanes)(inside(&k, j) & (Mask)(k.response[j] * k.along[j]));
            Lanes value = unknown(&k, j, k.pull[j]);
            if (block->place) {
                for (int e = k.first[j]; e < k.first[j + 1]; e++) {
                    Lanes of = k.multiplier[k.row[e]] * z - k.step[k.row[e]] * value;
                    for (int l = 0; l < LANES; l++)
                        if (good[l]) to_A[step.frame[l] * stride(block) + (size_t)block->place[e]] = of[l];
                }
                continue;
            }
            for (int i = 0; i < k.coordinates; i++) {
                Lanes of = k.multiplier[i] * z - k.step[i] * value;
                for (int l = 0; l < LANES; l++)
                    if (good[l])
                        to_A[step.frame[l] * stride(block) + (size_t)block->rows[i] * M + (size_t)block->columns[j]] =
                            of[l];
            }
        }
        for (int l = 0; l < LANES; l++)
            for (int i = 0; i < k.coordinates; i++)
                if (good[l]) to_b[step.frame[l] * N + (size_t)block->rows[i]] = k.step[i][l];
    }
    done_with(&k);
    return 0;
}
