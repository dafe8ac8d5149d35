"""The suite that CI jobs measure two builds with: ``python -m pytest bench/regression --profile kafka``."""
