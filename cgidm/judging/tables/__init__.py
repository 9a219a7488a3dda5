"""Tables that were measured for a base and ship with it: power, likelihood ratios, residuals of other artists."""
