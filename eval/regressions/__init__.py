"""Questions whose right answer is known, wrong answers of the past among them; each version is asked them again."""
