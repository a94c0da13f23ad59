"""Mounting recorders without writing to them: a small helper with privileges, and its client without."""
