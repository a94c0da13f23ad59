"""One target under libFuzzer, in a process of its own: libFuzzer ends the process it runs in.

Usage: ``python -m scripts.fuzz_child TARGET LIBFUZZER_ARGUMENTS...``
"""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["protocol", "agent", "collector", "firmware_profiles", "exifread"]):
    from tests.support.fuzz_targets import TARGETS


def main() -> None:
    """Never returns normally: libFuzzer calls exit."""
    name, *arguments = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    target = TARGETS[name]

    def one_input(data: bytes) -> None:
        target.try_out(data)

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
