"""What a report says: its sentences, as blocks that are set as a web page and on paper."""
