"""Results of the measurements as quantities with keys, for `analysis.json`."""
