"""What may become of the hidden states of a text."""

from __future__ import annotations

from llamacpp.errors import InvalidArgumentError, UnsupportedError
from llamacpp.models.layers import Network

__all__ = ["POOLINGS", "choose_pooling"]

POOLINGS = ("none", "mean", "cls", "last")  # by the number that pooling_type has for them


def choose_pooling(network: Network, asked: str | None) -> str:
    """The pooling that was asked for, or what the file says, or what suits the model.

    Raises:
        InvalidArgumentError: there is no such pooling.
        UnsupportedError: the file asks for another one.
    """
    if asked is not None:
        if asked not in POOLINGS:
            raise InvalidArgumentError(
                f"there is no pooling {asked!r}; kinds: {', '.join(POOLINGS)}"
            )
        return asked
    number = network.config.pooling
    if number is None:
        return "mean" if network.output is None else "last"
    if number >= len(POOLINGS):
        raise UnsupportedError(
            f"{network.config.architecture}.pooling_type is {number}, which is not supported; ask"
            f" for one of these: {', '.join(POOLINGS)}"
        )
    return POOLINGS[number]
