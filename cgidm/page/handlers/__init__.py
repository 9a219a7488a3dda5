"""What each button does: plain values in, views out."""
