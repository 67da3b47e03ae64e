"""What the cell answers to strain and to cooling."""
