"""The shared language of station, collector and verifier: pure values, codecs and checks.

Nothing in this package opens a file, a socket or a clock. ``docs/formats.md`` describes every byte that
leaves it; the two change together.
"""
