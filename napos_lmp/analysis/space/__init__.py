"""The space between the atoms, and density in layers."""
