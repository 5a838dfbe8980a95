"""Search for motions that meet a clinician's objective: terms, the objective language, and the search over latents."""
