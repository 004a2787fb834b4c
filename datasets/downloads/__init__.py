"""Getting published sets: where they are, fetching with resume, unpacking without surprises."""
