"""The commands of `bige`, one module per kind of work: each reads options, calls the rooms and prints results."""
