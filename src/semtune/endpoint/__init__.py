"""Models behind a server that speaks the OpenAI-compatible protocol: `contracts.StrategyGenerator` over HTTP.

Nothing here imports torch or the protocol's client before a first request.
"""
