"""Synthetic people who squat: bodies, motions with planted feet, and the sessions that hold them."""
