/* How a skeleton moves and what that takes, LANES frames at a time, and the gradients: see frames_last.py.
 *
 * In its home pose every frame is turned as ground is. Primitive k, at r = f + e s from the origin above it (f fixed in
 * the frame above, e s for a translation along the axis e alone), moves by s(t):
 *
 *     rotation:     R = exp([e] s) R_above,   w = w_above + e s',   w' = w'_above + e s'' + w_above x e s'
 *     translation:  R = R_above,              w = w_above,          w' = w'_above
 *     origin:       p = p_above + r,          v = p' = v_above + w x r + e s'                        (w, w' above)
 *                                             a = p'' = a_above + w' x r + w x (w x r + 2 e s') + e s''
 *
 * Gradients of rotations are carried as torques: a function of R changes by t . d for a small further turn d, which
 * turns all that is fixed in the frame, e and r of what follows included; so a primitive that turns by ds more about e
 * changes it by t . e ds, and hands t on to the frame above.
 */
#ifndef BIGE_SKELETON_MOTION_H
#define BIGE_SKELETON_MOTION_H
#include "lanes.h"

typedef struct { Lanes x, y, z; } Vector;

INLINED Vector plus(Vector a, Vector b) { return (Vector){a.x + b.x, a.y + b.y, a.z + b.z}; }
INLINED Vector minus(Vector a, Vector b) { return (Vector){a.x - b.x, a.y - b.y, a.z - b.z}; }
INLINED Vector times(Vector a, Lanes s) { return (Vector){a.x * s, a.y * s, a.z * s}; }
INLINED Lanes dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
INLINED void add(Vector *into, Vector a) { *into = plus(*into, a); }
INLINED Vector cross(Vector a, Vector b) {
    return (Vector){a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

/* Columns: where the axes of a frame, as they lie at home, point. */
typedef struct { Vector x, y, z; } Turn;

INLINED Vector turned(const Turn *R, const double *fixed) {
    return (Vector){R->x.x * fixed[0] + R->y.x * fixed[1] + R->z.x * fixed[2],
                    R->x.y * fixed[0] + R->y.y * fixed[1] + R->z.y * fixed[2],
                    R->x.z * fixed[0] + R->y.z * fixed[1] + R->z.z * fixed[2]};
}

/* R J R' v, J symmetric and at home. */
INLINED Vector turned_tensor(const Turn *R, const double *J, Vector v) {
    Lanes a = dot(R->x, v), b = dot(R->y, v), c = dot(R->z, v);
    Vector x = times(R->x, J[0] * a + J[1] * b + J[2] * c), y = times(R->y, J[3] * a + J[4] * b + J[5] * c);
    return plus(plus(x, y), times(R->z, J[6] * a + J[7] * b + J[8] * c));
}

/* Primitives: `turns`, parent (-1 for ground), coordinate, row of the splines or -1; axis and step from the origin above
 * (K, 3), as they lie at home; slope and offset of s = f(q) where there is no spline (K, 2). Simbody's spins (spins, 4):
 * of carrier, i, j, sign. Bodies, one for every primitive that carries any: carrier, mass, mass centre from
 * the carrier's origin and inertia about it, at home (B, 3 and 9); gravity. Points (P, 3) are carried likewise. */
typedef struct {
    int coordinates, primitives, spins, bodies, points;
    const int *turns, *parent, *coordinate, *spline;
    const double *axis, *step, *affine;
    Curves splines;
    const int *spin;
    const int *body;
    const double *mass, *com, *inertia, *gravity;
    const int *carrier;
    const double *point;
} Skeleton;

/* A primitive's state, and by names that begin with to_ the gradients in it. */
typedef struct {
    Lanes s, rate, second, slope, bend, jerk; /* s, s', s'', and three derivatives of f */
    Turn R;
    Vector e, r, p, w, dw, v, a;
    Vector force, moment; /* of all that it moves, about the ground origin */
    Lanes to_s, to_rate, to_second, to_slope;
    Vector to_turn, to_e, to_p, to_w, to_dw, to_v, to_a, to_force, to_moment;
} Primitive;

typedef struct {
    Lanes *q, *qd, *qdd, *to_q, *to_qd, *to_qdd;
    Primitive *k, ground;
    void *memory;
} Motion;

static int prepare_motion(Motion *m, const Skeleton *s) {
    size_t numbers = 6 * (size_t)s->coordinates, each = sizeof(Primitive) / sizeof(Lanes);
    Lanes *next = lanes(numbers + each * (size_t)s->primitives, &m->memory);
    if (!m->memory) return 0;
    Lanes **parts[] = {&m->q, &m->qd, &m->qdd, &m->to_q, &m->to_qd, &m->to_qdd};
    for (int i = 0; i < 6; i++) { *parts[i] = next; next += s->coordinates; }
    m->k = (Primitive *)next;
    memset(&m->ground, 0, sizeof(Primitive));
    return 1;
}

/* Sine and cosine: the quarter turn nearest to x is taken off in two parts, and the rest, of pi / 4 at most, goes into
 * their series. */
INLINED void sine_cosine(Lanes x, Lanes *sine, Lanes *cosine) {
    const double whole = 6755399441055744.0, quarter = 1.570796326734125614, rest = 6.077100506506192e-11;
    Lanes shifted = x * 0.63661977236758134 + whole, turns = shifted - whole;
    Mask of = (Mask)shifted;
    Lanes u = (x - turns * quarter) - turns * rest, v = u * u;
    Lanes s = all(1.0), c = all(1.0);
    for (int i = 16; i >= 2; i -= 2) {
        s = 1.0 - s * v * (1.0 / (i * (i + 1)));
        c = 1.0 - c * v * (1.0 / (i * (i - 1)));
    }
    s *= u;
    Mask odd = -(of & 1), back = (of & 2) << 62, across = ((of + 1) & 2) << 62;
    *sine = (Lanes)((Mask)pick(odd, c, s) ^ back);
    *cosine = (Lanes)((Mask)pick(odd, s, c) ^ across);
}

/* s = f(q) and three derivatives; straight lines beyond the ends of a spline. */
INLINED void displace(const Skeleton *t, int k, Lanes q, Primitive *p) {
    int row = t->spline[k];
    if (row < 0) {
        p->s = q * t->affine[2 * k] + t->affine[2 * k + 1];
        p->slope = all(t->affine[2 * k]);
        p->bend = p->jerk = all(0.0);
        return;
    }
    Cubic c = cubic(&t->splines, row, q);
    p->s = value_of(&c);
    p->slope = slope_of(&c);
    p->bend = bend_of(&c);
    p->jerk = jerk_of(&c);
}

/* States of the frames from `from` on, and the gradients in them. */
INLINED void load_states(
    const Skeleton *t, Motion *m, const double *q, const double *qd, const double *qdd, int from, int frames
) {
    load_rows(q, t->coordinates, from, frames, m->q);
    load_rows(qd, t->coordinates, from, frames, m->qd);
    load_rows(qdd, t->coordinates, from, frames, m->qdd);
}

INLINED void store_gradients(
    const Skeleton *t, const Motion *m, int from, int frames, double *to_q, double *to_qd, double *to_qdd
) {
    store_rows(m->to_q, t->coordinates, from, frames, to_q);
    store_rows(m->to_qd, t->coordinates, from, frames, to_qd);
    store_rows(m->to_qdd, t->coordinates, from, frames, to_qdd);
}

INLINED Primitive *above(const Skeleton *t, Motion *m, int k) {
    return t->parent[k] < 0 ? &m->ground : m->k + t->parent[k];
}

/* From q, q' and q'' of the frames. */
INLINED void move(const Skeleton *t, Motion *m) {
    Vector nothing = {{0}};
    m->ground.R = (Turn){{all(1.0), all(0.0), all(0.0)}, {all(0.0), all(1.0), all(0.0)}, {all(0.0), all(0.0), all(1.0)}};
    for (int k = 0; k < t->primitives; k++) {
        Primitive *p = m->k + k, *up = above(t, m, k);
        Lanes qd = m->qd[t->coordinate[k]], qdd = m->qdd[t->coordinate[k]];
        displace(t, k, m->q[t->coordinate[k]], p);
        p->rate = p->slope * qd;
        p->second = p->slope * qdd + p->bend * qd * qd;
        p->e = turned(&up->R, t->axis + 3 * k);
        p->r = turned(&up->R, t->step + 3 * k);
        p->w = up->w;
        p->dw = up->dw;
        Vector along = nothing, gain = nothing; /* e s' and e s'' of a translation */
        if (t->turns[k]) {
            Lanes sine, cosine;
            const double *a = t->axis + 3 * k;
            sine_cosine(p->s, &sine, &cosine);
            Lanes less = 1.0 - cosine;
            const Vector *from = &up->R.x;
            Vector *into = &p->R.x;
            for (int j = 0; j < 3; j++)
                into[j] = plus(plus(times(from[j], cosine), times(cross(p->e, from[j]), sine)), times(p->e, less * a[j]));
            Vector spin = times(p->e, p->rate);
            add(&p->w, spin);
            add(&p->dw, plus(times(p->e, p->second), cross(up->w, spin)));
        } else {
            p->R = up->R;
            add(&p->r, times(p->e, p->s));
            along = times(p->e, p->rate);
            gain = times(p->e, p->second);
        }
        for (int i = 0; i < t->spins; i++) {
            const int *spin = t->spin + 4 * i;
            if (spin[0] != k) continue;
            const Primitive *one = m->k + spin[1], *other = m->k + spin[2];
            add(&p->dw, times(cross(one->e, other->e), spin[3] * one->rate * other->rate));
        }
        p->p = plus(up->p, p->r);
        Vector carried = cross(up->w, p->r), twice = plus(carried, plus(along, along));
        p->v = plus(up->v, plus(carried, along));
        p->a = plus(plus(up->a, gain), plus(cross(up->dw, p->r), cross(up->w, twice)));
        p->force = p->moment = nothing;
    }
    m->ground.force = m->ground.moment = nothing;
}

/* What the bodies' motion takes, gravity included, by the primitive that carries each: their own alone. */
INLINED void bodies_take(const Skeleton *t, Motion *m) {
    for (int b = 0; b < t->bodies; b++) {
        Primitive *p = m->k + t->body[b];
        Vector arm = turned(&p->R, t->com + 3 * b);
        Vector fall = plus(p->a, plus(cross(p->dw, arm), cross(p->w, cross(p->w, arm))));
        fall = minus(fall, (Vector){all(t->gravity[0]), all(t->gravity[1]), all(t->gravity[2])});
        Vector force = times(fall, all(t->mass[b]));
        Vector turning = turned_tensor(&p->R, t->inertia + 9 * b, p->dw);
        add(&turning, cross(p->w, turned_tensor(&p->R, t->inertia + 9 * b, p->w)));
        add(&p->force, force);
        add(&p->moment, plus(turning, cross(plus(p->p, arm), force)));
    }
}

INLINED Vector point_of(const Skeleton *t, const Motion *m, int i) {
    const Primitive *p = m->k + t->carrier[i];
    return plus(p->p, turned(&p->R, t->point + 3 * i));
}

/* Forces and moments of every primitive gathered from all that it moves. */
INLINED void gather_up(const Skeleton *t, Motion *m) {
    for (int k = t->primitives - 1; k >= 0; k--) {
        Primitive *up = above(t, m, k);
        add(&up->force, m->k[k].force);
        add(&up->moment, m->k[k].moment);
    }
}

/* All of the above. */
INLINED void move_and_take(const Skeleton *t, Motion *m) {
    move(t, m);
    bodies_take(t, m);
    gather_up(t, m);
}

/* What a primitive carries. */
INLINED Lanes carries(const Skeleton *t, const Primitive *p, int k) {
    return dot(p->e, t->turns[k] ? minus(p->moment, cross(p->p, p->force)) : p->force);
}

/* Generalized forces of the coordinates, from forces and moments that are gathered. */
INLINED void generalize(const Skeleton *t, const Motion *m, Lanes *tau) {
    for (int c = 0; c < t->coordinates; c++) tau[c] = all(0.0);
    for (int k = 0; k < t->primitives; k++) tau[t->coordinate[k]] += m->k[k].slope * carries(t, m->k + k, k);
}

/* Gradients, in the order opposite to the above. */

INLINED void no_gradients(const Skeleton *t, Motion *m) {
    Vector nothing = {{0}};
    for (int k = 0; k < t->primitives; k++) {
        Primitive *p = m->k + k;
        p->to_s = p->to_rate = p->to_second = p->to_slope = all(0.0);
        p->to_turn = p->to_e = p->to_p = p->to_w = p->to_dw = p->to_v = p->to_a = p->to_force = p->to_moment = nothing;
    }
    for (int c = 0; c < t->coordinates; c++) m->to_q[c] = m->to_qd[c] = m->to_qdd[c] = all(0.0);
}

INLINED void to_generalize(const Skeleton *t, Motion *m, const Lanes *to_tau) {
    for (int k = 0; k < t->primitives; k++) {
        Primitive *p = m->k + k;
        Lanes asked = to_tau[t->coordinate[k]], to = p->slope * asked;
        p->to_slope += carries(t, p, k) * asked;
        if (t->turns[k]) {
            Vector of_moment = times(p->e, to);
            add(&p->to_e, times(minus(p->moment, cross(p->p, p->force)), to));
            add(&p->to_moment, of_moment);
            add(&p->to_force, cross(p->p, of_moment)); /* - to (e x p) */
            add(&p->to_p, cross(of_moment, p->force)); /* - to (F x e) */
        } else {
            add(&p->to_e, times(p->force, to));
            add(&p->to_force, times(p->e, to));
        }
    }
}

/* Those of forces and moments that are gathered, to those of every primitive alone; `ground` has those of the sums. */
INLINED void to_gather_up(const Skeleton *t, Motion *m) {
    for (int k = 0; k < t->primitives; k++) {
        const Primitive *up = above(t, m, k);
        add(&m->k[k].to_force, up->to_force);
        add(&m->k[k].to_moment, up->to_moment);
    }
}

/* Of a vector that is fixed in a primitive's frame. */
INLINED void to_fixed(Primitive *p, Vector fixed, Vector to) { add(&p->to_turn, cross(fixed, to)); }

INLINED void to_point(const Skeleton *t, Motion *m, int i, Vector to) {
    Primitive *p = m->k + t->carrier[i];
    add(&p->to_p, to);
    to_fixed(p, turned(&p->R, t->point + 3 * i), to);
}

/* Of x in g . (R J R' x), and of R. */
INLINED Vector to_turned_tensor(Primitive *p, const double *J, Vector x, Vector g) {
    Vector of_x = turned_tensor(&p->R, J, x), of_g = turned_tensor(&p->R, J, g);
    add(&p->to_turn, plus(cross(of_x, g), cross(of_g, x)));
    return of_g;
}

INLINED void to_bodies_take(const Skeleton *t, Motion *m) {
    for (int b = 0; b < t->bodies; b++) {
        Primitive *p = m->k + t->body[b];
        Vector arm = turned(&p->R, t->com + 3 * b), carried = cross(p->w, arm);
        Vector fall = plus(p->a, plus(cross(p->dw, arm), cross(p->w, carried)));
        fall = minus(fall, (Vector){all(t->gravity[0]), all(t->gravity[1]), all(t->gravity[2])});
        Vector force = times(fall, all(t->mass[b])), place = plus(p->p, arm);
        Vector to_place = cross(force, p->to_moment);
        Vector to_fall = times(plus(p->to_force, cross(p->to_moment, place)), all(t->mass[b]));
        Vector to_carried = cross(to_fall, p->w), to_arm = to_place;
        add(&p->to_p, to_place);
        add(&p->to_a, to_fall);
        add(&p->to_dw, cross(arm, to_fall));
        add(&to_arm, cross(to_fall, p->dw));
        add(&p->to_w, plus(cross(carried, to_fall), cross(arm, to_carried)));
        add(&to_arm, cross(to_carried, p->w));
        to_fixed(p, arm, to_arm);
        const double *J = t->inertia + 9 * b;
        Vector spin = turned_tensor(&p->R, J, p->w), to_spin = cross(p->to_moment, p->w);
        add(&p->to_dw, to_turned_tensor(p, J, p->dw, p->to_moment));
        add(&p->to_w, plus(cross(spin, p->to_moment), to_turned_tensor(p, J, p->w, to_spin)));
    }
}

INLINED void to_move(const Skeleton *t, Motion *m) {
    for (int k = t->primitives - 1; k >= 0; k--) {
        Primitive *p = m->k + k, *up = above(t, m, k);
        Vector along = t->turns[k] ? (Vector){{0}} : times(p->e, 2.0 * p->rate);
        Vector carried = plus(cross(up->w, p->r), along), to_carried = cross(p->to_a, up->w);
        Vector to_swept = plus(to_carried, p->to_v); /* of w x r */
        Vector to_r = plus(p->to_p, plus(cross(p->to_a, up->dw), cross(to_swept, up->w)));
        add(&up->to_p, p->to_p);
        add(&up->to_v, p->to_v);
        add(&up->to_a, p->to_a);
        add(&up->to_dw, cross(p->r, p->to_a));
        add(&up->to_w, plus(cross(carried, p->to_a), cross(p->r, to_swept)));
        for (int i = 0; i < t->spins; i++) {
            const int *spin = t->spin + 4 * i;
            if (spin[0] != k) continue;
            Primitive *one = m->k + spin[1], *other = m->k + spin[2];
            Lanes sign = all(spin[3]);
            Vector to_one = times(cross(other->e, p->to_dw), sign * other->rate);
            Vector to_other = times(cross(p->to_dw, one->e), sign * one->rate);
            one->to_rate += dot(one->e, to_one);
            other->to_rate += dot(other->e, to_other);
            add(&one->to_e, times(to_one, one->rate));
            add(&other->to_e, times(to_other, other->rate));
        }
        add(&up->to_dw, p->to_dw);
        add(&up->to_w, p->to_w);
        add(&up->to_turn, p->to_turn);
        if (t->turns[k]) {
            Vector spin = times(p->e, p->rate), to_spin = plus(p->to_w, cross(p->to_dw, up->w));
            add(&up->to_w, cross(spin, p->to_dw));
            add(&p->to_e, plus(times(p->to_dw, p->second), times(to_spin, p->rate)));
            p->to_rate += dot(p->e, to_spin);
            p->to_second += dot(p->e, p->to_dw);
            p->to_s += dot(p->e, p->to_turn);
        } else {
            Vector to_along = plus(plus(to_carried, to_carried), p->to_v);
            add(&p->to_e, plus(times(to_r, p->s), plus(times(to_along, p->rate), times(p->to_a, p->second))));
            p->to_s += dot(p->e, to_r);
            p->to_rate += dot(p->e, to_along);
            p->to_second += dot(p->e, p->to_a);
        }
        to_fixed(up, t->turns[k] ? p->r : minus(p->r, times(p->e, p->s)), to_r);
        to_fixed(up, p->e, p->to_e);
        int c = t->coordinate[k];
        Lanes qd = m->qd[c], qdd = m->qdd[c];
        m->to_q[c] += p->to_s * p->slope + (p->to_slope + p->to_rate * qd) * p->bend
                      + p->to_second * (p->bend * qdd + p->jerk * qd * qd);
        m->to_qd[c] += p->to_rate * p->slope + 2.0 * p->to_second * p->bend * qd;
        m->to_qdd[c] += p->to_second * p->slope;
    }
}

#endif
