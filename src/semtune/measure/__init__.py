"""Memory, clock, machine and environment. Imports torch only in functions that need it."""
