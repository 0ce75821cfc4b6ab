"""Pure decisions of the storage service: names, limits, ranges, forms, cursors, headers."""
