"""What may be a secret in text from outside (driver files, addresses) is masked before it is shown or stored.

One rule: a setting whose name speaks of a secret shows no value; any other text shows neither the secret part of an
address, nor the values of such settings within it, nor keys and tokens of well-known forms.
"""

from __future__ import annotations

import re

MASK = "***"
_WORDS = (
    r"pass(?:word|wd|phrase|code)?s?\b|pass(?:word|wd|phrase)|pwd|secret|token|credential|jaas|key_?store|trust_?store"
    r"|(?:private|access|account|api|shared|master|signing|encryption)[._-]?key|ssl[._-]?key|certificate"
    r"|auth[a-z]*[._-]?(?:data|params?|info|string|header)|authorization|basic[._-]?auth|sasl[._-]?config|bearer"
)
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)
_WHOLE = re.compile(r"LoginModule|-----BEGIN|\beyJ[\w-]{8,}\.")
"""JAAS, PEM, JSON web tokens: all of such a text is masked, wherever its lines end."""
_IN_ADDRESS = re.compile(r"(?P<kept>[a-z][a-z0-9+.-]*://)[^/\s'\"]*@", re.IGNORECASE)
_PAIR = re.compile(
    rf"""(?P<name>[\w.-]*(?:{_WORDS})[\w.-]*["']?\s*[=:]\s*)(?P<value>"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s,;&}}\]]+)""",
    re.IGNORECASE,
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")


def setting(name: str, value: str) -> str:
    """The value of a setting, fit to be shown."""
    # redisPass, sslKeyPassword: the words of a name in camel case are words, too.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    if _SECRET_NAME.search(name) or _SECRET_NAME.search(words.replace("_", ".")) or _SECRET_NAME.search(words):
        return MASK if value.strip() else value
    return text(value)


def text(shown: str) -> str:
    """Any text, fit to be shown."""
    if _WHOLE.search(shown):
        return MASK
    shown = _IN_ADDRESS.sub(rf"\g<kept>{MASK}@", shown)
    return _KEY_ID.sub(MASK, _PAIR.sub(rf"\g<name>{MASK}", shown))
