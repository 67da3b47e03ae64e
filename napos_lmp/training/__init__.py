"""Training of potentials from labelled frames."""
