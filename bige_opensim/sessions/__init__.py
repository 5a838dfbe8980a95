"""Recordings become sessions: markers to coordinates, public data to OpenCap folders, force plates to feet."""
