"""What fits a card: the published architectures, counted on tensors without numbers."""
