"""The kernel: rendering, reading back and applying, and the only place that starts programs."""
