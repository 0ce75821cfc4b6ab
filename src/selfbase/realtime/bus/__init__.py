"""How workers meet: one port, three ways through it (in process, one machine, Redis)."""
