"""The paper's questions asked of the embedded flow model: how often a picture must be presented, where in t, by whom.

Artists whom neither the base nor the shipped table of null scores has seen.
"""
