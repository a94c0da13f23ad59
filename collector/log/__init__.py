"""The evidence log on disk: tiles, checkpoint, and the one writer that may extend it."""
