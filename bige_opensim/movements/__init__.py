"""One event rule per movement: from the coordinates of a recording to its repetitions."""
