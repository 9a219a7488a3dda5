"""Versions of models on Civitai: what was typed, what the site states, and the one file that is downloaded."""
