"""Lint of models, motions, markers, forces and sessions, and repair of what can be repaired without guessing."""
