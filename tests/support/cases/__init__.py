"""Inputs made after public reports: each `case.json` of tests/cases says how one is made, and what is right.

`case` reads them, `recipes` makes their inputs, `command` runs the command line and keeps what it answered.
"""
