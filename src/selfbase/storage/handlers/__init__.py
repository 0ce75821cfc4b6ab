"""One file for each group of endpoints: decode the request, call an operation, encode the answer."""
