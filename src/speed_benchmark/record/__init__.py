"""What was seen: the values of a measurement, their schema, and the store that keeps them."""
