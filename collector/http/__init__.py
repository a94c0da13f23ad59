"""The collector's HTTP surface: thin handlers that parse, ask, store and answer."""
