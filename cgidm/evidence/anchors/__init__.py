"""What ties a bundle to the world outside: who signed it, when it existed, its originals, its models' publication."""
