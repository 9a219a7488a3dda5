"""How many used pictures are found: counted by training, and foretold of a suspect."""
