"""Motions to look at: a scene of bodies, muscles and forces, live in a browser or as one file."""
