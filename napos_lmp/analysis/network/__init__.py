"""Bonds, and the network that they make."""
