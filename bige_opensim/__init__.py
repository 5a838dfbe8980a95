"""Biomechanics-informed generation of exercise motions, labelled and verified by OpenSim.

Importing the package is light: torch and opensim are loaded only by the rooms that need them.
"""

__version__ = "0.1.0"
