"""Several suspects in one question: LoRAs that are used together, or versions of one LoRA."""
