"""The fault campaign: the real agent and the real collector through whole visits, on machines that fail on demand.

One run is one seed: everything happens on one thread, in virtual time, in an order the seed decides. ``run`` makes
one, ``campaign`` many; see docs/reliability.md.
"""
