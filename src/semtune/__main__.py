"""`python -m semtune` is `semtune`."""

from semtune.cli import main

if __name__ == "__main__":
    main()
