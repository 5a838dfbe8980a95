/* Newton's method on the dual of the least-effort problem with squared costs, one frame after the other.
 *
 * The mathematics, and the same method for whole batches, are in least_effort.py: the pull of every unknown is
 * v = A' lam, the unknown x = clip(v / (2 w), l, u), the gradient g = b - A x - c lam, and a step solves
 * (A D A' + diag(c)) s = g, D = 1 / (2 w) on the unknowns inside their box. A muscle moves few coordinates and pulls at
 * a bound count for nothing in A D A', so that a frame at a time, over the entries of A that are not zero, this takes a
 * tenth of the products that dense batches take.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SOLVED = 0, ITERATION_LIMIT = 1, NOT_FINITE = 2 };

typedef struct { double at, rate; } Corner;

typedef struct {
    /* of the block that is solved; of all, which is how far rows of A are apart */
    int coordinates, unknowns, all_unknowns;
    const int *rows, *columns;
    /* entries of A that are not zero, by unknown; `place` is where each of them is among all entries, where A comes as
     * a list of those */
    int *first, *row;
    const int *place;
    double *entry;
    /* per unknown; response is 1 / (2 w) */
    double *lower, *upper, *response, *pull, *along, *asked;
    /* per coordinate; right is b */
    double *compliance, *right, *multiplier, *gradient, *step, *hessian;
    Corner *corners;
    double *memory;
} Work;

static double clip(double v, double l, double u) { return v < l ? l : v > u ? u : v; }

static double product(const double *a, const double *b, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void of_block(const Work *k, const double *all, double *own) {
    for (int i = 0; i < k->coordinates; i++) own[i] = all[k->rows[i]];
}

static void gather(Work *k, const double *A) {
    int found = 0;
    if (k->place) {
        for (; found < k->first[k->unknowns]; found++) k->entry[found] = A[k->place[found]];
        return;
    }
    for (int j = 0; j < k->unknowns; j++) {
        k->first[j] = found;
        for (int i = 0; i < k->coordinates; i++) {
            double a = A[(size_t)k->rows[i] * k->all_unknowns + k->columns[j]];
            if (a != 0.0) { k->row[found] = i; k->entry[found++] = a; }
        }
    }
    k->first[k->unknowns] = found;
}

/* pull = A' lam */
static void pulls(const Work *k, const double *lam, double *pull) {
    for (int j = 0; j < k->unknowns; j++) {
        double sum = 0.0;
        for (int e = k->first[j]; e < k->first[j + 1]; e++) sum += k->entry[e] * lam[k->row[e]];
        pull[j] = sum;
    }
}

static double unknown(const Work *k, int j, double pull) {
    return clip(pull * k->response[j], k->lower[j], k->upper[j]);
}

static int inside(const Work *k, int j) {
    double v = k->pull[j] * k->response[j];
    return v > k->lower[j] && v < k->upper[j];
}

/* b - A x - c lam, and the largest of it */
static double gradient(Work *k) {
    for (int i = 0; i < k->coordinates; i++) k->gradient[i] = k->right[i] - k->compliance[i] * k->multiplier[i];
    for (int j = 0; j < k->unknowns; j++) {
        double x = unknown(k, j, k->pull[j]);
        if (x == 0.0) continue;
        for (int e = k->first[j]; e < k->first[j + 1]; e++) k->gradient[k->row[e]] -= k->entry[e] * x;
    }
    double largest = 0.0;
    for (int i = 0; i < k->coordinates; i++) largest = fmax(largest, fabs(k->gradient[i]));
    return largest;
}

/* The lower half of A D A' + diag(c); with `boxes` 0 every unknown counts as inside its box. */
static void hessian(Work *k, int boxes) {
    int n = k->coordinates;
    memset(k->hessian, 0, (size_t)n * n * sizeof(double));
    for (int j = 0; j < k->unknowns; j++) {
        if (boxes && !inside(k, j)) continue;
        for (int e = k->first[j]; e < k->first[j + 1]; e++) {
            double *line = k->hessian + (size_t)k->row[e] * n, a = k->entry[e] * k->response[j];
            for (int f = k->first[j]; f <= e; f++) line[k->row[f]] += a * k->entry[f];
        }
    }
    for (int i = 0; i < n; i++) k->hessian[(size_t)i * n + i] += k->compliance[i];
}

/* step = hessian^-1 right, by Cholesky's factor in place; 0 where the matrix is not positive definite. */
static int newton_step(Work *k, const double *right, double *step) {
    int n = k->coordinates;
    double *L = k->hessian;
    for (int i = 0; i < n; i++) {
        double *line = L + (size_t)i * n;
        for (int j = 0; j < i; j++) line[j] = (line[j] - product(line, L + (size_t)j * n, j)) / L[(size_t)j * n + j];
        double pivot = line[i] - product(line, line, i);
        if (!(pivot > 0.0)) return 0;
        line[i] = sqrt(pivot);
        step[i] = (right[i] - product(line, step, i)) / line[i];
    }
    for (int i = n - 1; i >= 0; i--) {
        step[i] /= L[(size_t)i * n + i];
        for (int j = 0; j < i; j++) step[j] -= L[(size_t)i * n + j] * step[i];
    }
    return 1;
}

static int by_place(const void *a, const void *b) {
    double p = ((const Corner *)a)->at, q = ((const Corner *)b)->at;
    return (p > q) - (p < q);
}

/* How far to go along the step: all of it, unless the dual falls there; then to where its slope, a broken line, is 0. */
static double length(Work *k) {
    int n = k->coordinates, corners = 0;
    pulls(k, k->step, k->along);
    double start = product(k->gradient, k->step, n), falling = 0.0, full = 0.0;
    for (int i = 0; i < n; i++) {
        double s = k->step[i], c = k->compliance[i];
        falling += c * s * s;
        full += (k->right[i] - c * k->multiplier[i]) * s;
    }
    full -= falling;
    for (int j = 0; j < k->unknowns; j++) full -= k->along[j] * unknown(k, j, k->pull[j] + k->along[j]);
    if (full >= -0.1 * start) return 1.0;
    double rate = falling;
    for (int j = 0; j < k->unknowns; j++) {
        double along = k->along[j], speed = along * k->response[j];
        if (speed == 0.0) continue;
        double v = k->pull[j] * k->response[j];
        double low = (k->lower[j] - v) / speed, high = (k->upper[j] - v) / speed;
        double in = fmin(low, high), out = fmax(low, high);
        if (out <= 0.0 || in >= 1.0) continue;
        if (in <= 0.0) rate += along * speed;
        else k->corners[corners++] = (Corner){in, along * speed};
        if (out < 1.0) k->corners[corners++] = (Corner){out, -along * speed};
    }
    qsort(k->corners, (size_t)corners, sizeof(Corner), by_place);
    double at = 0.0, slope = start;
    for (int c = 0; c < corners; c++) {
        double next = slope - rate * (k->corners[c].at - at);
        if (next <= 0.0) break;
        at = k->corners[c].at;
        slope = next;
        rate += k->corners[c].rate;
    }
    return fmin(1.0, at + slope / fmax(rate, 1e-300));
}

static int newton(Work *k, int started, double enough, int most, double *imbalance, int *iterations) {
    double *lam = k->multiplier;
    if (!started) {
        hessian(k, 0);
        if (!newton_step(k, k->right, lam)) return ITERATION_LIMIT;
    }
    for (int iteration = 0;; iteration++) {
        *iterations = iteration;
        pulls(k, lam, k->pull);
        *imbalance = gradient(k);
        if (*imbalance <= enough) return SOLVED;
        if (iteration == most) return ITERATION_LIMIT;
        hessian(k, 1);
        if (!newton_step(k, k->gradient, k->step)) return ITERATION_LIMIT;
        double far = length(k);
        for (int i = 0; i < k->coordinates; i++) lam[i] += far * k->step[i];
    }
}

/* `first` (unknowns + 1), `row` and `place` (entries) say where A's entries are, by unknown, where they come as a list of
 * `all_entries` a frame; they are NULL where A comes as a matrix. */
typedef struct {
    int all_coordinates, all_unknowns, all_entries, coordinates, unknowns;
    const int *rows, *columns, *first, *row, *place;
    const double *weight, *lower, *upper, *compliance;
} Block;

static size_t stride(const Block *block) {
    return block->place ? (size_t)block->all_entries : (size_t)block->all_coordinates * (size_t)block->all_unknowns;
}

static int prepare(Work *k, const Block *block) {
    size_t n = (size_t)block->coordinates, m = (size_t)block->unknowns;
    double *next = malloc((n * m + 7 * m + 5 * n + n * n) * sizeof(double));
    int *places = malloc((m + 1 + n * m) * sizeof(int));
    Corner *corners = malloc((2 * m + 1) * sizeof(Corner));
    *k = (Work){.coordinates = block->coordinates, .unknowns = block->unknowns, .all_unknowns = block->all_unknowns,
                .rows = block->rows, .columns = block->columns, .memory = next, .first = places, .corners = corners};
    if (!next || !places || !corners) return 0;
    double **of_unknowns[] = {&k->lower, &k->upper, &k->response, &k->pull, &k->along, &k->asked};
    double **of_coordinates[] = {&k->compliance, &k->right, &k->multiplier, &k->gradient, &k->step};
    for (int p = 0; p < 6; p++) { *of_unknowns[p] = next; next += m; }
    for (int p = 0; p < 5; p++) { *of_coordinates[p] = next; next += n; }
    k->hessian = next;
    k->entry = next + n * n;
    k->row = places + m + 1;
    k->place = block->place;
    if (block->place) {
        memcpy(k->first, block->first, (m + 1) * sizeof(int));
        memcpy(k->row, block->row, (size_t)block->first[m] * sizeof(int));
    }
    for (size_t j = 0; j < m; j++) {
        k->response[j] = 0.5 / block->weight[block->columns[j]];
        k->lower[j] = block->lower[block->columns[j]];
        k->upper[j] = block->upper[block->columns[j]];
    }
    for (size_t i = 0; i < n; i++) k->compliance[i] = block->compliance[block->rows[i]];
    return 1;
}

static void done_with(Work *k) {
    free(k->memory);
    free(k->first);
    free(k->corners);
}

/* Arrays of all frames: A (frames, all coordinates, all unknowns), or (frames, all entries); b, multiplier, reserve, and what ends in _b or
 * _multiplier (frames, all coordinates); x and asked_x (frames, all unknowns); enough, imbalance, status and iterations
 * (frames). -1 is returned where there is no memory. */

/* How frames start: without boxes, from `multiplier`, or where the frame before ended. */
enum { COLD = 0, GIVEN = 1, NEXT = 2 };

/* Solve one block of every frame. Frames that are NOT_FINITE are left alone, and status, imbalance and iterations take
 * the worse of what they are and what this block brings. */
int bige_least_effort(
    int frames, const Block *block, const double *A, const double *b, const double *enough, int started, int most,
    double *multiplier, double *x, double *reserve, double *imbalance, int *status, int *iterations
) {
    Work k;
    int done = prepare(&k, block) ? 0 : -1, solved_before = 0;
    size_t N = (size_t)block->all_coordinates, M = (size_t)block->all_unknowns;
    for (int t = 0; done == 0 && t < frames; t++) {
        if (status[t] == NOT_FINITE) continue;
        size_t of_b = (size_t)t * N, of_x = (size_t)t * M;
        gather(&k, A + (size_t)t * stride(block));
        of_block(&k, b + of_b, k.right);
        if (started == GIVEN) of_block(&k, multiplier + of_b, k.multiplier);
        double missing = 0.0;
        int go_on = started == GIVEN || (started == NEXT && solved_before);
        int spent = 0, found = newton(&k, go_on, enough[t], most, &missing, &spent);
        solved_before = found == SOLVED;
        if (status[t] == SOLVED) status[t] = found;
        if (spent > iterations[t]) iterations[t] = spent;
        imbalance[t] = fmax(imbalance[t], missing);
        for (int j = 0; j < k.unknowns; j++) x[of_x + (size_t)k.columns[j]] = unknown(&k, j, k.pull[j]);
        for (int i = 0; i < k.coordinates; i++) {
            multiplier[of_b + (size_t)k.rows[i]] = k.multiplier[i];
            reserve[of_b + (size_t)k.rows[i]] = k.compliance[i] * k.multiplier[i];
        }
    }
    done_with(&k);
    return done;
}

/* Gradients of a function of x and of the multipliers, whose own gradients are asked_x and asked_multiplier.
 *
 * With y = D asked_x and H = A D A' + diag(c), the multipliers' adjoint is mu = H^-1 (asked_multiplier + A y), and
 * of b it is mu, of A it is lam (y - D A' mu)' - mu x'. */
int bige_least_effort_pullback(
    int frames, const Block *block, const double *A, const double *multiplier, const double *asked_x,
    const double *asked_multiplier, const int *status, double *to_A, double *to_b
) {
    Work k;
    int done = prepare(&k, block) ? 0 : -1;
    size_t N = (size_t)block->all_coordinates, M = (size_t)block->all_unknowns;
    for (int t = 0; done == 0 && t < frames; t++) {
        if (status[t] == NOT_FINITE) continue;
        size_t of_b = (size_t)t * N, of_x = (size_t)t * M;
        gather(&k, A + (size_t)t * stride(block));
        of_block(&k, multiplier + of_b, k.multiplier);
        of_block(&k, asked_multiplier + of_b, k.gradient);
        pulls(&k, k.multiplier, k.pull);
        for (int j = 0; j < k.unknowns; j++) {
            k.asked[j] = inside(&k, j) ? k.response[j] * asked_x[of_x + (size_t)k.columns[j]] : 0.0;
            for (int e = k.first[j]; e < k.first[j + 1]; e++) k.gradient[k.row[e]] += k.entry[e] * k.asked[j];
        }
        hessian(&k, 1);
        if (!newton_step(&k, k.gradient, k.step)) continue;
        pulls(&k, k.step, k.along);
        for (int j = 0; j < k.unknowns; j++) {
            double z = k.asked[j] - (inside(&k, j) ? k.response[j] * k.along[j] : 0.0), x = unknown(&k, j, k.pull[j]);
            double *of_A = to_A + (size_t)t * stride(block), *column = of_A + (size_t)k.columns[j];
            if (k.place) {
                for (int e = k.first[j]; e < k.first[j + 1]; e++)
                    of_A[k.place[e]] = k.multiplier[k.row[e]] * z - k.step[k.row[e]] * x;
                continue;
            }
            for (int i = 0; i < k.coordinates; i++)
                column[(size_t)k.rows[i] * M] = k.multiplier[i] * z - k.step[i] * x;
        }
        for (int i = 0; i < k.coordinates; i++) to_b[of_b + (size_t)k.rows[i]] = k.step[i];
    }
    done_with(&k);
    return done;
}
