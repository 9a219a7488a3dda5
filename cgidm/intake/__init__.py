"""Names and headers of files that somebody else made: what a model is. No file is ever executed."""
