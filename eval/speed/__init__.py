"""`python -m eval bench`: how fast the recovery is and how much memory it takes, beside the paper's public code."""
