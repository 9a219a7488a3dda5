"""What is done once more with a bundle: its run, models of its bank; and whether it is the run of its plan."""
