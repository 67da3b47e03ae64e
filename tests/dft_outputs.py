"""Outputs of DFT codes as those codes print them, cut to what parsers look for, around given labels (tests only).

The conventions are those of the codes' manuals: VASP and Quantum ESPRESSO print the stress with pressure positive, in
kB and in Ry/bohr^3.
"""

from pathlib import Path
from typing import Any

import numpy as np

KB_EV_A3 = 1 / 1602.1766340
RY_EV = 13.605693122994
BOHR_A = 0.529177210903


def write_vasprun(path: Path, frames: list[Any], scsteps: list[int], limit: int = 60) -> None:
    """`vasprun.xml` of several ionic steps."""
    first = frames[0]
    atoms = "".join(f"<rc><c>{symbol} </c><c>1</c></rc>" for symbol in first.get_chemical_symbols())
    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.2  </i></generator>
<kpoints><varray name="kpointlist"><v>0.0 0.0 0.0</v></varray><varray name="weights"><v>1.0</v></varray></kpoints>
<parameters><separator name="electronic"><i type="int" name="NELM">{limit}</i></separator></parameters>
<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>
<structure name="initialpos">{_structure(first)}</structure>
"""
    for frame, steps in zip(frames, scsteps, strict=True):
        energy, free = frame.get_potential_energy(), frame.calc.results["free_energy"]
        energies = (
            f'<energy><i name="e_fr_energy">{free:.10f}</i><i name="e_wo_entrp">{energy:.10f}</i>'
            f'<i name="e_0_energy">{energy:.10f}</i></energy>'
        )
        stress = -frame.get_stress(voigt=False) / KB_EV_A3
        text += "<calculation>" + f"<scstep>{energies}</scstep>" * steps
        text += f"<structure>{_structure(frame)}</structure>"
        text += f'<varray name="forces">{_vectors(frame.get_forces())}</varray>'
        text += f'<varray name="stress">{_vectors(stress)}</varray>{energies}</calculation>\n'
    path.write_text(text + "</modeling>\n")


def write_outcar(path: Path, frames: list[Any], scsteps: list[int], limit: int = 60) -> None:
    """`OUTCAR` of several ionic steps; atoms of one element must stand together."""
    symbols = frames[0].get_chemical_symbols()
    kinds = list(dict.fromkeys(symbols))
    text = " vasp.6.3.2 27Jun22 (build Nov 22 2026 10:00:00) complex\n"
    text += 2 * "".join(f" POTCAR:    PAW_PBE {kind} 01Jan2000\n" for kind in kinds)
    text += "".join(f"   VRHFIN ={kind}: s p\n" for kind in kinds)
    text += f"   ions per type =          {' '.join(str(symbols.count(kind)) for kind in kinds)}\n"
    text += f"   ISPIN  =      1    spin polarized calculation?\n   NELM   =     {limit};   NELMIN=  2; NELMDL= -5\n"
    for number, (frame, steps) in enumerate(zip(frames, scsteps, strict=True), start=1):
        energy, free = frame.get_potential_energy(), frame.calc.results["free_energy"]
        stress = -frame.get_stress(voigt=True)[[0, 1, 2, 5, 3, 4]] / KB_EV_A3
        for step in range(1, steps + 1):
            text += f"--------------------------------------- Iteration {number:6d}({step:4d})  ----------------\n"
        text += "  in kB  " + "".join(f"{value:18.8f}" for value in stress) + "\n"
        text += "  external pressure =        0.00 kB  Pullay stress =        0.00 kB\n\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        inverse = np.linalg.inv(frame.cell.array).T
        for row, other in zip(frame.cell.array, inverse, strict=True):
            text += " ".join(f"{value:17.9f}" for value in (*row, *other)) + "\n"
        text += "\n POSITION                                       TOTAL-FORCE (eV/Angst)\n " + "-" * 83 + "\n"
        for position, force in zip(frame.positions, frame.get_forces(), strict=True):
            text += "".join(f"{value:18.9f}" for value in (*position, *force)) + "\n"
        text += " " + "-" * 83 + "\n"
        text += "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  " + "-" * 51 + "\n"
        text += f"  free  energy   TOTEN  = {free:20.10f} eV\n\n"
        text += f"  energy  without entropy= {energy:20.10f}  energy(sigma->0) = {energy:20.10f}\n"
    path.write_text(text)


def write_pw(path: Path, frame: Any, converged: bool = True) -> None:
    """Output of `pw.x` for one single point."""
    symbols = frame.get_chemical_symbols()
    alat = float(np.linalg.norm(frame.cell[0])) / BOHR_A
    axes = frame.cell.array / (alat * BOHR_A)
    stress = -frame.get_stress(voigt=False) / (RY_EV / BOHR_A**3)
    text = f"""
     Program PWSCF v.7.0 starts on 22Nov2026 at 10: 0: 0

     bravais-lattice index     =            0
     lattice parameter (alat)  =   {alat:.10f}  a.u.
     unit-cell volume          =   {frame.get_volume() / BOHR_A**3:.6f} (a.u.)^3
     number of atoms/cell      =            {len(symbols)}
     number of atomic types    =            {len(set(symbols))}

     celldm(1)=  {alat:.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
"""
    for number, row in enumerate(axes, start=1):
        text += f"               a({number}) = ( {row[0]:.10f}  {row[1]:.10f}  {row[2]:.10f} )\n"
    text += "\n   Cartesian axes\n\n     site n.     atom                  positions (alat units)\n"
    for number, (symbol, position) in enumerate(zip(symbols, frame.positions / (alat * BOHR_A), strict=True), start=1):
        x, y, z = position
        text += f"     {number:5d}        {symbol:3s} tau({number:4d}) = ( {x:14.10f} {y:14.10f} {z:14.10f}  )\n"
    text += "\n     number of k points=     1\n                       cart. coord. in units 2pi/alat\n"
    text += "        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000\n\n"
    if not converged:
        text += "     convergence NOT achieved after 100 iterations: stopping\n\n"
    text += f"!    total energy              = {frame.get_potential_energy() / RY_EV:20.12f} Ry\n\n"
    text += "     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
    for number, force in enumerate(frame.get_forces() / (RY_EV / BOHR_A), start=1):
        x, y, z = force
        text += f"     atom {number:4d} type  1   force = {x:16.10f} {y:16.10f} {z:16.10f}\n"
    text += "\n     Total force =     0.0     Total SCF correction =     0.000000\n\n"
    text += "     Computing stress (Cartesian axis) and pressure\n\n"
    text += "          total   stress  (Ry/bohr**3)                   (kbar)     P=        0.00\n"
    for row in stress:
        text += "".join(f" {value:16.12f}" for value in (*row, *(row * 147105.07))) + "\n"
    path.write_text(text + "\n     JOB DONE.\n")


def _structure(frame: Any) -> str:
    return (
        f'<crystal><varray name="basis">{_vectors(frame.cell.array)}</varray></crystal>'
        f'<varray name="positions">{_vectors(frame.get_scaled_positions(wrap=False))}</varray>'
    )


def _vectors(rows: Any) -> str:
    return "".join("<v>" + " ".join(f"{value:.12f}" for value in row) + "</v>" for row in rows)
