"""The method: noise schedule, contrast, recovery, scores (CGI-DM, CVPR 2024). No files, no formats, no words."""
