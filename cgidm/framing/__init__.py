"""How trainers frame pictures: which part their network sees, and at which size. Standard library alone."""
