"""A result becomes files, and files become a check: record, reports, seal, signature, verification, repeated runs."""
