"""Batched, differentiable mechanics in torch; needs no opensim."""
