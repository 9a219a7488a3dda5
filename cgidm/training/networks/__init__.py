"""The networks of a training, of any family: what is trained, how it is asked, what is lost, what is written."""
