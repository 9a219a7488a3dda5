"""Banks of null models: what they hold, and what the scores of a suspect are compared with in them."""
