"""Energy: operations counted, priced and compared. Sees recordings only."""
