"""One module per group of operations: read the request, decide, write rows, render the answer."""
