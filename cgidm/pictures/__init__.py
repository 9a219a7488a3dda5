"""Picture files: reading, near-duplicates, content credentials, and the embedders that measure likeness."""
