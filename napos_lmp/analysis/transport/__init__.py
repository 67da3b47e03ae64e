"""Displacements, diffusion, conductivity, and their change with temperature and size."""
