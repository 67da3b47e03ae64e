"""Pair distances and scattering."""
