"""Auth decisions and texts: pure functions, no await, clock, randomness or SQL."""
