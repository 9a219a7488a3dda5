"""One question, one file, one committed result."""
