"""The `selfbase` command."""
