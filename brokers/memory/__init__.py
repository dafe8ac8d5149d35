"""The reference broker, in process: the profile ``memory``."""
