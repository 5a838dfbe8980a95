"""Generated motions back through OpenSim: what holds, and by how much."""
