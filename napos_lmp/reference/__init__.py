"""Reference data: frames labelled at the DFT level, how they are sampled, labelled, checked and exchanged."""
