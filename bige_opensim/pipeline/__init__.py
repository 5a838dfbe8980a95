"""The whole chain from recordings, or synthetic people, to motions that OpenSim has judged, and their report."""
