"""ipset: sets to text and text to sets."""
