"""LoRAs as they are met: one deviation from the laboratory at a time, judged as a user would."""
