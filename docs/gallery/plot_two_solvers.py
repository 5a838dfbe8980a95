"""
Two solvers, one answer
=======================

The fast solver solves the problem of OpenSim's StaticOptimization for all frames at once. Here are both on the same
frames.
"""

import matplotlib.pyplot as plt
import numpy as np

import bige_opensim as bige

session = bige.sample_session()
window = {"model": session.model, "start": 1.2, "end": 1.6}
by_opensim = bige.label(session.motion, solver="opensim", **window)
by_fast = bige.label(session.motion, solver="fast", audit=0, **window)

# %%
# Every muscle in every frame, one against the other.

a, b = by_opensim.activations, by_fast.activations[by_opensim.activations.columns]
difference = np.abs(a.to_numpy() - b.to_numpy())
figure, axes = plt.subplots(figsize=(4.4, 4.4), layout="constrained")
axes.plot([0, 1], [0, 1], color="0.7", lw=1)
axes.plot(a.to_numpy().ravel(), b.to_numpy().ravel(), ".", ms=3)
axes.set(xlabel="OpenSim's StaticOptimization", ylabel="fast solver", xlim=(0, 0.6), ylim=(0, 0.6), aspect="equal")

# %%
print(f"RMSE {np.sqrt((difference**2).mean()):.4f}, largest {difference.max():.4f} ({difference.size} values)")
