"""The suite with which CI jobs measure two builds: ``python -m pytest bench/regression --profile kafka``."""
