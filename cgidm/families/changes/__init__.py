"""What adapters change: the modules that their names mean, the scale, and the layers that compute the change."""
