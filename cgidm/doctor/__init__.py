"""What this machine, or Space, still needs."""
