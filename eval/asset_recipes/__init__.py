"""How everything in assets/ was made."""
