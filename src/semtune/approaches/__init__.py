"""The rows of a study: tuned models, prompted models and baselines, all `contracts.Approach`, registered by name."""
