"""Motions in the formats of other programs: the OpenSim GUI, spreadsheets, C3D, animation, MuJoCo."""
