"""Training: requests by name, the loop, and the files it leaves."""
