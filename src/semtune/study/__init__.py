"""The grid of runs, each in a process of its own, and the record they leave: `study.json`."""
