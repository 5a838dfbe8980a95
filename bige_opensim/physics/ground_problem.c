/* What a motion takes and how the ground can push it, LANES frames at a time, and the gradients: what `joint_problem`
 * poses beside the muscles. The mathematics is in skeleton_motion.h and contact.py. */
#include "skeleton_motion.h"
#include <math.h>

/* Feet on a ground at height 0. `foot` and `radius` (points) are of every point, which is the lowest of a sphere; those
 * that move foot f are link[first[f]] to link[first[f + 1]], each about or along coordinate number `column` of the
 * foot's `coordinates_of` (feet). Rays (rays, 3) of a point; `weight` is what a ray of a point that is ready pushes
 * with. */
typedef struct {
    Skeleton skeleton;
    int feet, rays, entries;
    const int *foot, *first, *link, *column, *coordinates_of;
    const double *radius, *ray;
    double weight, height, height_scale, speed, speed_scale;
} Contact;

typedef struct {
    Motion motion;
    Lanes *tau, *ready, *entry, *to_tau, *to_ready, *to_entry;
    Vector *column, *to_column;
    void *memory;
} Work;

/* A point as the ground sees it. */
typedef struct {
    Vector at, velocity;
    Lanes low, slow, pace;
} Seen;

static int prepare(Work *w, const Contact *c) {
    size_t C = (size_t)c->skeleton.coordinates, P = (size_t)c->skeleton.points, E = (size_t)c->entries;
    Lanes *next = lanes(2 * (C + P + E) + 6 * C, &w->memory);
    if (!w->memory) return 0;
    Lanes **parts[] = {&w->tau, &w->ready, &w->entry, &w->to_tau, &w->to_ready, &w->to_entry};
    size_t sizes[] = {C, P, E};
    for (int i = 0; i < 6; i++) { *parts[i] = next; next += sizes[i % 3]; }
    w->column = (Vector *)next;
    w->to_column = w->column + C;
    if (prepare_motion(&w->motion, &c->skeleton)) return 1;
    free(w->memory);
    return 0;
}

static void done_with(Work *w) {
    free(w->memory);
    free(w->motion.memory);
}

/* 1 / (1 + e^x) */
INLINED Lanes fade(Lanes x) {
    for (int l = 0; l < LANES; l++) x[l] = 1.0 / (1.0 + exp(x[l]));
    return x;
}

INLINED Seen see(const Contact *c, const Motion *m, int i) {
    const Primitive *p = m->k + c->skeleton.carrier[i];
    Seen s = {.at = point_of(&c->skeleton, m, i)};
    s.at.y -= c->radius[i];
    s.velocity = plus(p->v, cross(p->w, minus(s.at, p->p)));
    s.pace = root(dot(s.velocity, s.velocity));
    s.low = fade((s.at.y - c->height) / c->height_scale);
    s.slow = fade((s.pace - c->speed) / c->speed_scale);
    return s;
}

/* Velocities of a point on the ground per unit of the foot's coordinates. */
INLINED void columns_of(const Contact *c, const Motion *m, int foot, Vector on_ground, Vector *column) {
    for (int j = 0; j < c->coordinates_of[foot]; j++) column[j] = (Vector){all(0.0), all(0.0), all(0.0)};
    for (int i = c->first[foot]; i < c->first[foot + 1]; i++) {
        const Primitive *p = m->k + c->link[i];
        Vector moved = c->skeleton.turns[c->link[i]] ? cross(p->e, minus(on_ground, p->p)) : p->e;
        add(&column[c->column[i]], times(moved, p->slope));
    }
}

INLINED void pose(const Contact *c, Work *w) {
    const Skeleton *t = &c->skeleton;
    Motion *m = &w->motion;
    move_and_take(t, m);
    generalize(t, m, w->tau);
    Lanes *entry = w->entry;
    for (int i = 0; i < t->points; i++) {
        Seen s = see(c, m, i);
        int foot = c->foot[i], count = c->coordinates_of[foot];
        w->ready[i] = s.low * s.slow;
        s.at.y = all(0.0);
        columns_of(c, m, foot, s.at, w->column);
        Lanes push = c->weight * w->ready[i];
        for (int r = 0; r < c->rays; r++, entry += count) {
            const double *ray = c->ray + 3 * r;
            for (int j = 0; j < count; j++) {
                const Vector *v = w->column + j;
                entry[j] = push * (ray[0] * v->x + ray[1] * v->y + ray[2] * v->z);
            }
        }
    }
}

INLINED void to_pose(const Contact *c, Work *w) {
    const Skeleton *t = &c->skeleton;
    Motion *m = &w->motion;
    no_gradients(t, m);
    to_generalize(t, m, w->to_tau);
    to_gather_up(t, m);
    const Lanes *asked = w->to_entry;
    for (int i = 0; i < t->points; i++) {
        Seen s = see(c, m, i);
        Vector on_ground = {s.at.x, all(0.0), s.at.z}, to_at = {all(0.0), all(0.0), all(0.0)};
        int foot = c->foot[i], count = c->coordinates_of[foot];
        columns_of(c, m, foot, on_ground, w->column);
        Lanes to_ready = w->to_ready[i], push = c->weight * s.low * s.slow;
        for (int j = 0; j < count; j++) {
            Vector to = {all(0.0), all(0.0), all(0.0)};
            for (int r = 0; r < c->rays; r++) {
                Lanes of = asked[r * count + j];
                const double *ray = c->ray + 3 * r;
                add(&to, (Vector){ray[0] * of, ray[1] * of, ray[2] * of});
            }
            to_ready += c->weight * dot(to, w->column[j]);
            w->to_column[j] = times(to, push);
        }
        asked += c->rays * count;
        for (int k = c->first[foot]; k < c->first[foot + 1]; k++) {
            Primitive *p = m->k + c->link[k];
            Vector to = w->to_column[c->column[k]], to_moved = times(to, p->slope);
            if (!t->turns[c->link[k]]) {
                p->to_slope += dot(to, p->e);
                add(&p->to_e, to_moved);
                continue;
            }
            Vector arm = minus(on_ground, p->p), to_arm = cross(to_moved, p->e);
            p->to_slope += dot(to, cross(p->e, arm));
            add(&p->to_e, cross(arm, to_moved));
            add(&to_at, to_arm);
            p->to_p = minus(p->to_p, to_arm);
        }
        Primitive *p = m->k + t->carrier[i];
        Lanes to_pace = -to_ready * s.low * s.slow * (1.0 - s.slow) / c->speed_scale;
        Vector to_velocity = times(s.velocity, pick((Mask)(s.pace > 0.0), to_pace / s.pace, all(0.0)));
        Vector arm = minus(s.at, p->p), to_arm = cross(to_velocity, p->w);
        add(&p->to_v, to_velocity);
        add(&p->to_w, cross(arm, to_velocity));
        arm.y += c->radius[i];
        to_fixed(p, arm, to_arm);
        to_at.y = -to_ready * s.slow * s.low * (1.0 - s.low) / c->height_scale;
        to_point(t, m, i, to_at);
    }
    to_bodies_take(t, m);
    to_move(t, m);
}

/* Arrays of all frames: q, qd and qdd, tau, and gradients in them (frames, coordinates); ready (frames, points); entry
 * (frames, entries): generalized forces of the rays, by point, ray and coordinate of the point's foot. -1 is returned
 * where there is no memory. */
int NAMED(bige_ground_problem)(
    int frames, const Contact *c, const double *q, const double *qd, const double *qdd, double *tau, double *ready,
    double *entry
) {
    const Skeleton *t = &c->skeleton;
    Work w;
    if (!prepare(&w, c)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load_states(t, &w.motion, q, qd, qdd, from, frames);
        pose(c, &w);
        store_rows(w.tau, t->coordinates, from, frames, tau);
        store_rows(w.ready, t->points, from, frames, ready);
        store_rows(w.entry, c->entries, from, frames, entry);
    }
    done_with(&w);
    return 0;
}

int NAMED(bige_ground_problem_pullback)(
    int frames, const Contact *c, const double *q, const double *qd, const double *qdd, const double *asked_tau,
    const double *asked_ready, const double *asked_entry, double *to_q, double *to_qd, double *to_qdd
) {
    const Skeleton *t = &c->skeleton;
    Work w;
    if (!prepare(&w, c)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load_states(t, &w.motion, q, qd, qdd, from, frames);
        move_and_take(t, &w.motion);
        load_rows(asked_tau, t->coordinates, from, frames, w.to_tau);
        load_rows(asked_ready, t->points, from, frames, w.to_ready);
        load_rows(asked_entry, c->entries, from, frames, w.to_entry);
        to_pose(c, &w);
        store_gradients(t, &w.motion, from, frames, to_q, to_qd, to_qdd);
    }
    done_with(&w);
    return 0;
}
