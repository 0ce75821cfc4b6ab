"""Database changes: the stream of the log, who wants which change, and who may see it."""
