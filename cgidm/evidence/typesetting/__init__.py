"""The blocks of a report, set as a web page and on paper."""
