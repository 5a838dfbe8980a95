/* Force and moment about the ground origin that motions take from their surroundings, LANES frames at a time, and the
 * gradients: see skeleton_motion.h. */
#include "skeleton_motion.h"

/* Arrays of all frames: q, qd and qdd, and gradients in them (frames, coordinates); force and moment (frames, 3). -1 is
 * returned where there is no memory. */
int NAMED(bige_demand)(
    int frames, const Skeleton *t, const double *q, const double *qd, const double *qdd, double *force, double *moment
) {
    Motion m;
    if (!prepare_motion(&m, t)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load_states(t, &m, q, qd, qdd, from, frames);
        move_and_take(t, &m);
        store_rows(&m.ground.force.x, 3, from, frames, force);
        store_rows(&m.ground.moment.x, 3, from, frames, moment);
    }
    free(m.memory);
    return 0;
}

int NAMED(bige_demand_pullback)(
    int frames, const Skeleton *t, const double *q, const double *qd, const double *qdd, const double *asked_force,
    const double *asked_moment, double *to_q, double *to_qd, double *to_qdd
) {
    Motion m;
    if (!prepare_motion(&m, t)) return -1;
    for (int from = 0; from < frames; from += LANES) {
        load_states(t, &m, q, qd, qdd, from, frames);
        move(t, &m);
        no_gradients(t, &m);
        Vector to_force, to_moment;
        load_rows(asked_force, 3, from, frames, &to_force.x);
        load_rows(asked_moment, 3, from, frames, &to_moment.x);
        for (int k = 0; k < t->primitives; k++) {
            m.k[k].to_force = to_force;
            m.k[k].to_moment = to_moment;
        }
        to_bodies_take(t, &m);
        to_move(t, &m);
        store_gradients(t, &m, from, frames, to_q, to_qd, to_qdd);
    }
    free(m.memory);
    return 0;
}
