"""The harness against what people would use instead: ``brokerbench calibrate``."""
