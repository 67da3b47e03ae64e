"""Measurements on trajectories: one module for each physical quantity, one class for each measurement."""
