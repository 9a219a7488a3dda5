"""LoRAs of the embedded flow model: how they are judged, and under which prompt."""
