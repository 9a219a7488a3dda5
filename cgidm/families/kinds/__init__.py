"""The kinds of models: one file for each family, which says how a pipeline of diffusers becomes a network on a prompt."""
