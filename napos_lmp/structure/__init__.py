"""Atoms in a periodic cell: packing at random, crystals, density estimates and LAMMPS data files."""

from napos_lmp.structure.atoms import Structure, atomic_mass, minimum_distances
from napos_lmp.structure.crystals import CRYSTALS, crystal
from napos_lmp.structure.datafile import lammps_frame, read_data, write_data
from napos_lmp.structure.density import DensityEstimate, estimate_density, fitted_glasses, molar_volumes
from napos_lmp.structure.packing import contact_distance, pack

__all__ = [
    "CRYSTALS",
    "DensityEstimate",
    "Structure",
    "atomic_mass",
    "contact_distance",
    "crystal",
    "estimate_density",
    "fitted_glasses",
    "lammps_frame",
    "minimum_distances",
    "molar_volumes",
    "pack",
    "read_data",
    "write_data",
]
