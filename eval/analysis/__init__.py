"""Tables of numbers: metrics, comparisons, tables and plots. No tensor, no model."""
