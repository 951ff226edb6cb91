"""What our detectors and rankings are worth on recorded data, beside simple ones."""
