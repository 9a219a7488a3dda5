"""How often a verdict is wrong and how often it finds: counted on trained suspects."""
