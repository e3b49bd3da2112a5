"""The daemons: a base that owns the process, and one file for each daemon's own idea."""
