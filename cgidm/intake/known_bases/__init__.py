"""The SHA-256 of the weight files of well-known public bases: a list that ships."""
