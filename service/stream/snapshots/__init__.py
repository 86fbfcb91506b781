"""A partition's whole state on the compacted snapshots topic: taken, written, found again."""
