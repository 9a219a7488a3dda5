"""What a bank of null models finds: by residuals, together with the mirror test, and by how many models it has."""
