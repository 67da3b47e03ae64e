"""From a glass composition to structure and Na conductivity, with machine-learning potentials in LAMMPS."""

from importlib.metadata import version

__version__ = version("napos-lmp")
