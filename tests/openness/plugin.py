"""What a stranger's package does at import: one object of every kind registered, none of it known to semtune's files.

It is named in SEMTUNE_PLUGINS, so every `semtune` process knows these names too.
"""

from __future__ import annotations

from semtune import registry

HERE = "tests.openness"

registry.METHODS.register(
    "parallel-branch", f"{HERE}.plugin_methods:PARALLEL_BRANCH", "a branch beside every MLP, and trained biases"
)
registry.METHODS.register("learned-prefix", f"{HERE}.plugin_methods:LEARNED_PREFIX", "learned keys and values")
registry.QUANTIZATIONS.register("rowwise-int8", f"{HERE}.plugin_answers:INT8", "8 bits, one scale a row")
registry.TASKS.register("colour-spans", f"{HERE}.plugin_tasks:ColourSpans", "where a text names a colour")
registry.TASKS.register("reversal", f"{HERE}.plugin_tasks:Reversal", "a word, written backwards")
registry.PROMPTS.register("offsets", f"{HERE}.plugin_tasks:SpanPrompt", "<text> <spans:> start-end")
registry.PROMPTS.register("arrow", f"{HERE}.plugin_tasks:TextPrompt", "<text> => <answer>")
registry.READOUTS.register("two-layer-head", f"{HERE}.plugin_answers:TwoLayerHead", "a classifier of two layers")
registry.STRATEGIES.register("likeliest-label", f"{HERE}.plugin_answers:LikeliestLabel", "the label's likelihood")
registry.BASELINES.register("longest-text", f"{HERE}.plugin_answers:LongestText", "by the length of the text")
registry.LAUNCHERS.register("in-process", f"{HERE}.plugin_answers:InProcess", "in the study's own process")
registry.ARCHITECTURES.register("toy-recurrent", f"{HERE}.plugin_architecture:ARCHITECTURE", "a recurrent model")
