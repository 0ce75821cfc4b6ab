"""One module per object that can be created, changed and dropped."""
