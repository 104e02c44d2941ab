"""Which filter it was, from a picture before it and one after it."""
