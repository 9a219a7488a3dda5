"""Widgets and their wiring: the only modules that build gradio components."""
