"""What remains: a configuration becomes a run, and a run a folder."""
