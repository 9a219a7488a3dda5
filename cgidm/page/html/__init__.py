"""Records and progress as HTML, in five languages."""
