"""`python -m eval reality`: everything tried once on the paper's own models, with a page of what holds."""
