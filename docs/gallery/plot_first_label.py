"""
First label
===========
"""

import bige_opensim

# %%
print(bige_opensim.__version__)
