"""The kinds of models: one file for each family, which makes of a pipeline of diffusers a network on a prompt."""
