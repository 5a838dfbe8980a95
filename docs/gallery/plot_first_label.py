"""
A first label
=============

Ground forces and muscle activations of one squat, from its coordinates alone.
"""

import bige_opensim as bige

session = bige.sample_session()
motion = bige.read_motion(session.motion, model=session.model)
label = bige.label(motion, model=session.model, solver="fast", start=0.5, end=3.5)

# %%
# Whether the label holds is the first thing to ask. Every gate has a value, a limit and a unit.

print(label.passed, "-", label.reason)
for name, gate in label.gates.items():
    print(f"{name:20s} {gate.value:8.3f}   limit {gate.limit:g} {gate.unit}")

# %%
# The fast solver's label was audited: OpenSim's StaticOptimization solved some of its frames again.

print(label.record["audit"])

# %%
# Tables are pandas DataFrames with time in seconds as index and OpenSim's names as columns.

label.activations[["vasmed_r", "vasmed_l", "soleus_r", "gasmed_r"]].describe().round(3)

# %%
# And curves are one call away.

label.plot(["vasmed_r", "recfem_r", "glmax2_r", "soleus_r"])
