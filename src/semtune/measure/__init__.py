"""Memory, clock, machine and environment. Nothing here imports torch until it is asked about torch."""
