"""Whatever can be fitted on a task and then predict: the study's axis. One file per kind, registered by name."""
