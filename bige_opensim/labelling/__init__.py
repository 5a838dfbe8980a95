"""From a recorded motion to labels: ground forces, joint moments, muscle activations, and whether they hold."""
