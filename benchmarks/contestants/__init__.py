"""One small program a stack, run as `python -m benchmarks.contestants.<name> '<settings as JSON>'`.

Each runs in a process of its own, so that its memory is its own, and prints one JSON object on the last line of
standard output: what it measured, or `{"error": "<reason>"}`.
"""
