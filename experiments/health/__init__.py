"""What the code needs of a machine; imports nothing heavy, so that it runs where things lack."""
