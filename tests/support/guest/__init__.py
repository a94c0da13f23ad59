"""A Linux guest in QEMU with a real xHCI port, and recorders in Python that are plugged into it."""
