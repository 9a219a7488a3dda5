"""A visit, its runs, and the part of a run that needs the GPU."""
