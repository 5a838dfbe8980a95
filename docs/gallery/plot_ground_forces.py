"""
Ground forces without force plates
==================================

Muscles and ground forces are found together as one least-effort problem. Newton's law holds for the sum of both feet;
the share of each foot is what costs the muscles least.
"""

import matplotlib.pyplot as plt
import numpy as np

import bige_opensim as bige

session = bige.sample_session()
label = bige.label(session.motion, model=session.model, solver="fast", audit=0, start=0.5, end=3.5)
force = label.ground_forces
weight = label.record["mass_kg"] * 9.80665

# %%
# Both feet together carry body weight, and more or less of it while the body accelerates.

figure, (up, path) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for side, colour in (("r", "C3"), ("l", "C0")):
    up.plot(force.index, force[f"ground_force_{side}_vy"] / weight, colour, label=f"{side} foot")
both = force["ground_force_r_vy"] + force["ground_force_l_vy"]
up.plot(force.index, both / weight, "k", lw=1, label="both")
up.set(xlabel="time (s)", ylabel="vertical force (body weights)", ylim=(0, None))
up.legend(frameon=False)

# %%
# The centre of pressure of each foot, seen from above.

for side, colour in (("r", "C3"), ("l", "C0")):
    path.plot(force[f"ground_force_{side}_pz"], force[f"ground_force_{side}_px"], colour, lw=1)
path.set(xlabel="to the right (m)", ylabel="forward (m)", aspect="equal", title="centre of pressure")

# %%
# Over whole squats, which begin and end at rest, the mean vertical force is body weight.

print(f"mean of both feet: {np.mean(both) / weight:.3f} body weights")
