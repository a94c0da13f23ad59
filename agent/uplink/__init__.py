"""The station's way to its collector: statements out, bytes up, receipts back.

``service.Uplink`` is the whole; ``statements``, ``workers`` with ``deliveries``, ``inbox`` and ``early`` are its loops.
All of them can be killed anywhere: what is to be done stands in the journal, and doing it twice does no harm.
"""
