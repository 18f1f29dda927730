"""Data, label spaces, official scores and submission files. No torch; one file per task, registered by name."""
