"""How far potentials are from labelled frames, how well a committee knows it, and where they extrapolate."""
