"""One function per job: what Python scripts, commands and pipelines all call."""
