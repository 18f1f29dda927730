"""Launchers: who starts the runs of a study. One file each, registered by name; `contracts.Launcher`."""
