"""Training of models whose training set is known: null models for a bank, and the suspects of the benchmark.

Only the command line and the benchmark import this room. No score or verdict depends on it.
"""
