"""Reports for readers: what was asked, and what OpenSim found, in one file."""
