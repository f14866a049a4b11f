"""The lock of what actors share: there is one such thing, the desk of a symbol. All else they tell each other."""

from threading import Lock

__all__ = ["Lock"]
