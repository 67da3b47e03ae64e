"""The figures of the report, each a function that returns an SVG document as text."""
