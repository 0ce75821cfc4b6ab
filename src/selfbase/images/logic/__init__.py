"""Decisions about images as pure functions: parameters, geometry, formats, URLs, SVG cleaning."""
