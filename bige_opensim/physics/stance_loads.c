/* What joints carry in motions on two feet, LANES frames at a time, and the gradients; the mathematics is in
 * stance_loads.py and skeleton_motion.h. */
#include "skeleton_motion.h"

enum { FEET = 2, POINTS_OF_FOOT = 6, OF_GROUND = 8, OF_FOOT = POINTS_OF_FOOT + 4, TOLD = OF_GROUND + FEET * OF_FOOT };

/* The points of the skeleton are those of the right foot, then those of the left; `foot` are the primitives that carry
 * the feet, `ahead` (points) weighs points to where a foot points. The rest are constants of stance_loads.py. */
typedef struct {
    Skeleton skeleton;
    int channels;
    const int *column, *foot;
    const double *radius, *ahead;
    double weight, least_weight, least_apart, least_foot;
} Stance;

/* What is shared between the feet; all vectors but F and M lie on the level. */
typedef struct {
    Vector F, M, z, middle[FEET], apart, off, along[FEET];
    Lanes lift, free, square, raw, part[FEET], reach[FEET];
} Ground;

static const double WHOLE = 1.0;

INLINED Vector on_level(Vector v) { return (Vector){v.x, all(0.0), v.z}; }

INLINED void stand(const Stance *s, const Motion *m, Ground *g, Lanes *told) {
    const Skeleton *t = &s->skeleton;
    Vector nothing = {{0}};
    g->F = m->ground.force;
    g->M = m->ground.moment;
    g->lift = larger(g->F.y, all(s->least_weight * s->weight));
    g->z = (Vector){g->M.z / g->lift, all(0.0), -g->M.x / g->lift};
    Lanes *of_foot = told + OF_GROUND;
    for (int f = 0; f < FEET; f++, of_foot += OF_FOOT) {
        Vector sum = nothing, along = nothing;
        for (int i = 0; i < POINTS_OF_FOOT; i++) {
            int point = f * POINTS_OF_FOOT + i;
            Vector at = point_of(t, m, point);
            of_foot[i] = at.y - s->radius[point];
            add(&sum, at);
            add(&along, times(at, all(s->ahead[point])));
        }
        g->middle[f] = times(on_level(sum), all(1.0 / POINTS_OF_FOOT));
        g->along[f] = on_level(along);
        g->reach[f] = root(dot(g->along[f], g->along[f]));
        Lanes length = larger(g->reach[f], all(s->least_foot));
        of_foot[POINTS_OF_FOOT] = g->z.x - g->middle[f].x;
        of_foot[POINTS_OF_FOOT + 1] = g->z.z - g->middle[f].z;
        of_foot[POINTS_OF_FOOT + 2] = g->along[f].x / length;
        of_foot[POINTS_OF_FOOT + 3] = g->along[f].z / length;
    }
    g->apart = minus(g->middle[0], g->middle[1]);
    g->square = dot(g->apart, g->apart);
    g->raw = dot(minus(g->z, g->middle[1]), g->apart) / larger(g->square, all(s->least_apart));
    g->part[0] = clip(g->raw, 0.0, WHOLE);
    g->part[1] = 1.0 - g->part[0];
    g->off = minus(g->z, plus(times(g->middle[0], g->part[0]), times(g->middle[1], g->part[1])));
    g->free = g->M.y - (g->z.z * g->F.x - g->z.x * g->F.z);
    told[0] = g->F.x / s->weight;
    told[1] = g->F.y / s->weight;
    told[2] = g->F.z / s->weight;
    told[3] = g->off.x;
    told[4] = g->off.z;
    told[5] = g->part[0] - 0.5;
    told[6] = g->apart.z;
    told[7] = g->free / s->weight;
}

/* The moment of the ground force at a foot, were all of it there. */
INLINED Vector of_all(const Ground *g, int f) {
    Vector moment = cross(plus(g->middle[f], g->off), g->F);
    moment.y += g->free;
    return moment;
}

/* Push the feet: take from what their primitives carry, all the way up. */
INLINED void push(const Stance *s, Motion *m, const Ground *g) {
    for (int f = 0; f < FEET; f++) {
        Vector force = times(g->F, g->part[f]), moment = times(of_all(g, f), g->part[f]);
        for (int k = s->foot[f]; k >= 0; k = s->skeleton.parent[k]) {
            m->k[k].force = minus(m->k[k].force, force);
            m->k[k].moment = minus(m->k[k].moment, moment);
        }
    }
}

/* Gradients of `push` and `stand`, those of what feet carry being known. */
INLINED void to_stand(const Stance *s, Motion *m, const Ground *g, const Lanes *to_told) {
    const Skeleton *t = &s->skeleton;
    Vector nothing = {{0}}, to_F = nothing, to_M = nothing, to_z = nothing, to_middle[FEET];
    Lanes to_part[FEET], to_free = to_told[7] / s->weight;
    Vector to_off = {to_told[3], all(0.0), to_told[4]}, to_apart = {all(0.0), all(0.0), to_told[6]};
    add(&to_F, times((Vector){to_told[0], to_told[1], to_told[2]}, all(1.0 / s->weight)));
    for (int f = 0; f < FEET; f++) {
        Vector to_force = times(m->k[s->foot[f]].to_force, all(-1.0)), whole = of_all(g, f);
        Vector to_moment = times(m->k[s->foot[f]].to_moment, all(-1.0)), to_whole = times(to_moment, g->part[f]);
        Vector to_place = on_level(cross(g->F, to_whole));
        to_part[f] = dot(g->F, to_force) + dot(whole, to_moment);
        add(&to_F, plus(times(to_force, g->part[f]), cross(to_whole, plus(g->middle[f], g->off))));
        to_free += to_whole.y;
        to_middle[f] = to_place;
        add(&to_off, to_place);
    }
    /* free and off */
    to_M.y += to_free;
    add(&to_F, (Vector){-to_free * g->z.z, all(0.0), to_free * g->z.x});
    add(&to_z, (Vector){to_free * g->F.z, all(0.0), -to_free * g->F.x});
    add(&to_z, to_off);
    for (int f = 0; f < FEET; f++) {
        add(&to_middle[f], times(to_off, -g->part[f]));
        to_part[f] -= dot(g->middle[f], to_off);
    }
    /* the right foot's part */
    Lanes to_raw = to_part[0] - to_part[1] + to_told[5];
    to_raw = (Lanes)((Mask)(g->raw * (WHOLE - g->raw) >= 0.0) & (Mask)to_raw);
    Lanes over = larger(g->square, all(s->least_apart)), to_top = to_raw / over;
    Lanes to_square = (Lanes)((Mask)(g->square >= s->least_apart) & (Mask)(-to_raw * g->raw / over));
    Vector from_left = minus(g->z, g->middle[1]), to_from = times(g->apart, to_top);
    add(&to_apart, plus(times(from_left, to_top), times(g->apart, 2.0 * to_square)));
    add(&to_z, to_from);
    to_middle[1] = minus(to_middle[1], plus(to_from, to_apart));
    add(&to_middle[0], to_apart);
    /* points */
    const Lanes *of_foot = to_told + OF_GROUND;
    for (int f = 0; f < FEET; f++, of_foot += OF_FOOT) {
        Vector to_near = {of_foot[POINTS_OF_FOOT], all(0.0), of_foot[POINTS_OF_FOOT + 1]};
        add(&to_z, to_near);
        to_middle[f] = minus(to_middle[f], to_near);
        Vector to_heading = {of_foot[POINTS_OF_FOOT + 2], all(0.0), of_foot[POINTS_OF_FOOT + 3]};
        Lanes length = larger(g->reach[f], all(s->least_foot));
        Lanes shorter = dot(to_heading, g->along[f]) / (length * length * length);
        shorter = (Lanes)((Mask)(g->reach[f] >= s->least_foot) & (Mask)shorter);
        Vector to_along = minus(times(to_heading, 1.0 / length), times(g->along[f], shorter));
        for (int i = 0; i < POINTS_OF_FOOT; i++) {
            int point = f * POINTS_OF_FOOT + i;
            Vector to = plus(times(to_middle[f], all(1.0 / POINTS_OF_FOOT)), times(to_along, all(s->ahead[point])));
            to.y += of_foot[i];
            to_point(t, m, point, to);
        }
    }
    /* the zero-moment point */
    Lanes to_lift = -(to_z.x * g->z.x + to_z.z * g->z.z) / g->lift;
    to_M.z += to_z.x / g->lift;
    to_M.x -= to_z.z / g->lift;
    to_F.y += (Lanes)((Mask)(g->F.y >= s->least_weight * s->weight) & (Mask)to_lift);
    for (int k = 0; k < t->primitives; k++) {
        add(&m->k[k].to_force, to_F);
        add(&m->k[k].to_moment, to_M);
    }
}

INLINED void stance(const Stance *s, Motion *m, Ground *g, Lanes *tau, Lanes *told) {
    move_and_take(&s->skeleton, m);
    stand(s, m, g, told);
    push(s, m, g);
    generalize(&s->skeleton, m, tau);
}

/* Arrays of all frames: q, qd and qdd, and gradients in them (frames, coordinates); loads and asked_loads (frames,
 * channels + TOLD): generalized forces of the channels over body weight, then what is told of the ground and the feet.
 * -1 is returned where there is no memory. */
int NAMED(bige_stance_loads)(
    int frames, const Stance *s, const double *q, const double *qd, const double *qdd, double *loads
) {
    const Skeleton *t = &s->skeleton;
    Motion m;
    if (!prepare_motion(&m, t)) return -1;
    void *memory;
    Lanes *tau = lanes((size_t)(t->coordinates + s->channels + TOLD), &memory), *out = tau + t->coordinates;
    for (int from = 0; memory && from < frames; from += LANES) {
        Ground ground;
        load_states(t, &m, q, qd, qdd, from, frames);
        stance(s, &m, &ground, tau, out + s->channels);
        for (int c = 0; c < s->channels; c++) out[c] = tau[s->column[c]] / s->weight;
        store_rows(out, s->channels + TOLD, from, frames, loads);
    }
    int done = memory ? 0 : -1;
    free(memory);
    free(m.memory);
    return done;
}

int NAMED(bige_stance_loads_pullback)(
    int frames, const Stance *s, const double *q, const double *qd, const double *qdd, const double *asked_loads,
    double *to_q, double *to_qd, double *to_qdd
) {
    const Skeleton *t = &s->skeleton;
    Motion m;
    if (!prepare_motion(&m, t)) return -1;
    void *memory;
    Lanes *tau = lanes((size_t)(t->coordinates + s->channels + 2 * TOLD), &memory), *asked = tau + t->coordinates;
    for (int from = 0; memory && from < frames; from += LANES) {
        Ground ground;
        load_states(t, &m, q, qd, qdd, from, frames);
        stance(s, &m, &ground, tau, asked + s->channels + TOLD);
        load_rows(asked_loads, s->channels + TOLD, from, frames, asked);
        for (int c = 0; c < t->coordinates; c++) tau[c] = all(0.0);
        for (int c = 0; c < s->channels; c++) tau[s->column[c]] += asked[c] / s->weight;
        no_gradients(t, &m);
        to_generalize(t, &m, tau);
        to_gather_up(t, &m);
        to_stand(s, &m, &ground, asked + s->channels);
        to_bodies_take(t, &m);
        to_move(t, &m);
        store_gradients(t, &m, from, frames, to_q, to_qd, to_qdd);
    }
    int done = memory ? 0 : -1;
    free(memory);
    free(m.memory);
    return done;
}
