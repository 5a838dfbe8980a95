"""The only room that imports opensim: models, inverse dynamics, static optimization, compilation to arrays."""
