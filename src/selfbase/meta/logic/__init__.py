"""Pure parts of the metadata API: rendering, parsing, deciding.  No I/O."""
