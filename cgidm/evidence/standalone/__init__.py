"""What lies in every bundle for whoever has nothing of this tool: `HOW-TO-CHECK.txt`, and `verify.py`."""
