"""Keeping what the collector has: the catalogue made anew, backups, and coming back from one."""
