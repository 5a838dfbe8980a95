"""Much work at once: processes with limits of time and memory, on this machine or a dask cluster."""
