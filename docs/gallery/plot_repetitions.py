"""
Repetitions
===========

Labelled trials are cut into repetitions of 101 samples, which is what networks are trained on.
"""

import matplotlib.pyplot as plt
import numpy as np

import bige_opensim as bige

session = bige.sample_session()
label = bige.label(session.motion, model=session.model, solver="fast", audit=0)
repetitions = bige.repetitions([label])
repetitions

# %%
# Names, units and provenance travel with the numbers (an xarray Dataset, netCDF on disk).

figure, (knee, muscle) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
percent = repetitions["sample"]
for number in range(repetitions.sizes["repetition"]):
    one = repetitions.isel(repetition=number)
    knee.plot(percent, np.rad2deg(one["q"].sel(coordinate="knee_angle_r")))
    muscle.plot(percent, one["activations"].sel(muscle="vasmed_r"))
knee.set(xlabel="% of the squat", ylabel="knee flexion, right (degrees)")
muscle.set(xlabel="% of the squat", ylabel="vastus medialis, right")
