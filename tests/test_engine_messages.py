"""What LAMMPS prints, as it prints it, against the sentence a user reads."""

import signal

import pytest

from napos_lmp.engine.messages import explain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ERROR: Unrecognized pair style 'deepmd' (src/src/force.cpp:275)", "LAMMPS_PLUGIN_PATH"),
        (
            "AttributeError: 'mliap_unified_couple.MLIAPDataPy' object has no attribute 'forward_exchange'\n"
            "ERROR: Running mliappy unified compute_forces failure. (src/ML-IAP/mliap_unified.cpp:82)",
            "the switches in potential.lammps",
        ),
        ("ERROR: Cannot use -kokkos on without KOKKOS installed (src/lammps.cpp:610)", "was built without KOKKOS"),
        (
            "ValueError: GPU requested but tensor is on CPU. Set MACE_ALLOW_CPU=true to allow CPU computation.",
            "was exported for GPUs alone",
        ),
        ("ModuleNotFoundError: No module named 'mace'", "the Python inside LAMMPS did not find mace"),
        (
            "ModuleNotFoundError: No module named 'cuequivariance_torch.primitives'",
            "the Python inside LAMMPS did not find cuequivariance_torch",
        ),
        (
            "_pickle.UnpicklingError: Weights only load failed. This file can",
            "this LAMMPS is older than the torch in it",
        ),
        ("AttributeError: 'dict' object has no attribute 'interface'", "no exported object"),
        ("ERROR: Unrecognized pair style 'mliap/kk' (src/force.cpp:275)", "has no pair style mliap with Python"),
        ("ERROR: Using pair_style mliap unified requires ML-IAP with python support", "MLIAP_ENABLE_PYTHON"),
        ("ERROR: Unrecognized pair style 'symmetrix/mace' (src/force.cpp:275)", "built with Symmetrix"),
        ("ERROR: Unrecognized pair style 'mace' (src/force.cpp:275)", "ML-MACE"),
        ("ERROR: Unrecognized fix style 'plumed' (src/modify.cpp:905)", "has no fix style plumed"),
        (
            "implib-gen: libcudart.so.12: failed to load library 'libcudart.so.12' via callback 'DP_cudart_dlopen'",
            "install `nvidia-cuda-runtime-cu12`",
        ),
        (
            "lmp: error while loading shared libraries: libmpi.so.12: cannot open shared object file: No such file",
            "the library libmpi.so.12 was not found",
        ),
        ("lmp: symbol lookup error: libdeepmd_op_pt.so: undefined symbol: _ZN3c105ErrorC1", "_ZN3c105ErrorC1"),
        ("ERROR: Lost atoms: original 200 current 187 (src/thermo.cpp:494)", "(187 of 200 are left)"),
        ("ERROR: Non-numeric atom coords - simulation unstable (src/domain.cpp:582)", "blew up"),
        ("ERROR on proc 0: Non-numeric pressure - simulation unstable (src/fix_nh.cpp:1)", "blew up"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "the GPU has not enough memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "not enough memory"),
        ("ERROR: Failed to allocate 80000000000 bytes for array neigh", "not enough memory"),
        ("ERROR: I/O error writing restart: No space left on device", "the disk is full"),
        ("Fix halt condition for fix-id disk met on step 5000 with value 120.3", "the disk is nearly full"),
        ("ERROR: pair_coeff: element Ge not found in the model (pair_deepmd.cpp:1053)", "does not know the element Ge"),
        ("ERROR: Incomplete or corrupted LAMMPS restart file (src/read_restart.cpp:1046)", "restart file is damaged"),
        (
            "ERROR on proc 0: Cannot open file nowhere.data: No such file or directory (a.cpp:1)",
            "the file nowhere.data",
        ),
        ("ERROR: Neighbor list overflow, boost neigh_modify one (src/npair.cpp:1)", "far too dense"),
        (
            "ERROR: Something new (src/x.cpp:12)\nLast input line: fix 1 all magic",
            "Something new at the input line 'fix 1",
        ),
        ("YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)", "killed by SIGKILL"),
    ],
)
def test_known_texts(text, words):
    sentence = explain(f"LAMMPS (22 Jul 2025)\n  20  1500.0  -107.6\n{text}\nbye\n", 1)
    assert words in sentence
    assert "\n" not in sentence


def test_exit_status_alone():
    assert explain("", -signal.SIGKILL).startswith("LAMMPS was killed by SIGKILL, most often for using too much memory")
    assert explain("", -signal.SIGUSR1) == "LAMMPS was killed by SIGUSR1"
    assert explain("", -signal.SIGRTMIN - 3).startswith("LAMMPS was killed by ")
    assert explain("all is well", 3) == "LAMMPS ended with exit status 3 and no message"
