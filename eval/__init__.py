"""The offline benchmark and the recipes of everything that ships in `assets/`."""
