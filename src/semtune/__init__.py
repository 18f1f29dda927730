"""semtune: which way of fine-tuning fits your computer, how fast is it, and how good is the result?

The command line is `semtune` (see `semtune --help`); the rooms of the library are listed in the README.
Importing the package imports nothing heavy: torch comes in with the first room that needs it.
"""

__version__ = "0.1.0"
