"""One run: what it is asked for, its plan, its events, and a sitting of it."""
