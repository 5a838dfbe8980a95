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
    /* entries of A that are not zero, by unknown */
    int *first, *row;
    double *entry;
    /* per unknown; response is 1 / (2 w) */
    double *lower, *upper, *response, *pull, *along;
    /* per coordinate; right is b */
    double *compliance, *right, *multiplier, *gradient, *step, *hessian;
    Corner *corners;
} Work;

static double clip(double v, double l, double u) { return v < l ? l : v > u ? u : v; }

static double product(const double *a, const double *b, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void gather(Work *k, const double *A) {
    int found = 0;
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
        double v = k->pull[j] * k->response[j];
        if (boxes && !(v > k->lower[j] && v < k->upper[j])) continue;
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

/* Solve one block of every frame: `rows` are its coordinates and `columns` its unknowns, of all of them.
 *
 * A (frames, all coordinates, all unknowns), b, multiplier and reserve (frames, all coordinates), x (frames, all
 * unknowns), enough, imbalance, status and iterations (frames); weight, lower, upper and compliance have an entry for
 * each of all unknowns or coordinates. Frames that are NOT_FINITE are left alone, `multiplier` is where to start if
 * `started`, and status, imbalance and iterations take the worse of what they are and what this block brings. -1 is
 * returned where there is no memory. */
int bige_least_effort(
    int frames, int all_coordinates, int all_unknowns, int coordinates, const int *rows, int unknowns,
    const int *columns, const double *A, const double *b, const double *weight, const double *lower,
    const double *upper, const double *compliance, const double *enough, int started, int most, double *multiplier,
    double *x, double *reserve, double *imbalance, int *status, int *iterations
) {
    size_t n = (size_t)coordinates, m = (size_t)unknowns, N = (size_t)all_coordinates, M = (size_t)all_unknowns;
    double *numbers = malloc((n * m + 6 * m + 5 * n + n * n) * sizeof(double)), *next = numbers;
    int *places = malloc((m + 1 + n * m) * sizeof(int));
    Corner *corners = malloc((2 * m + 1) * sizeof(Corner));
    int done = numbers && places && corners ? 0 : -1;
    if (done == 0) {
        Work k = {.coordinates = coordinates, .unknowns = unknowns, .all_unknowns = all_unknowns, .rows = rows,
                  .columns = columns, .first = places, .row = places + m + 1, .corners = corners};
        double **of_unknowns[] = {&k.lower, &k.upper, &k.response, &k.pull, &k.along};
        double **of_coordinates[] = {&k.compliance, &k.right, &k.multiplier, &k.gradient, &k.step};
        for (int p = 0; p < 5; p++) { *of_unknowns[p] = next; next += m; }
        for (int p = 0; p < 5; p++) { *of_coordinates[p] = next; next += n; }
        k.hessian = next;
        k.entry = next + n * n;
        for (size_t j = 0; j < m; j++) {
            k.response[j] = 0.5 / weight[columns[j]];
            k.lower[j] = lower[columns[j]];
            k.upper[j] = upper[columns[j]];
        }
        for (size_t i = 0; i < n; i++) k.compliance[i] = compliance[rows[i]];
        for (int t = 0; t < frames; t++) {
            if (status[t] == NOT_FINITE) continue;
            gather(&k, A + (size_t)t * N * M);
            for (size_t i = 0; i < n; i++) {
                k.right[i] = b[(size_t)t * N + (size_t)rows[i]];
                k.multiplier[i] = multiplier[(size_t)t * N + (size_t)rows[i]];
            }
            double missing = 0.0;
            int spent = 0, found = newton(&k, started, enough[t], most, &missing, &spent);
            if (status[t] == SOLVED) status[t] = found;
            if (spent > iterations[t]) iterations[t] = spent;
            imbalance[t] = fmax(imbalance[t], missing);
            for (size_t j = 0; j < m; j++) x[(size_t)t * M + (size_t)columns[j]] = unknown(&k, (int)j, k.pull[j]);
            for (size_t i = 0; i < n; i++) {
                size_t place = (size_t)t * N + (size_t)rows[i];
                multiplier[place] = k.multiplier[i];
                reserve[place] = k.compliance[i] * k.multiplier[i];
            }
        }
    }
    free(numbers);
    free(places);
    free(corners);
    return done;
}
