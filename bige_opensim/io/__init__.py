"""Files of the field: .mot, .sto, ExternalLoads and OpenCap session folders. Nothing here needs OpenSim."""
