"""What the library sentence-transformers keeps beside a model: how texts become vectors."""

from __future__ import annotations

from pathlib import Path

from llamacpp.convert.checkpoint import read_json, read_list
from llamacpp.errors import UnsupportedError
from llamacpp.format.encode import Value

__all__ = ["pooling"]

_NUMBERS = {"mean": 1, "cls": 2, "last": 3}  # of pooling_type
_KEYS = {  # of its configuration, today's word and yesterday's flag
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "cls": ("cls", "pooling_mode_cls_token"),
    "last": ("lasttoken", "pooling_mode_lasttoken"),
}
_MODULES = ("Transformer", "Pooling", "Normalize")  # an engine normalises or not, as it is asked to


def pooling(folder: Path) -> dict[str, Value]:
    """The key ``pooling_type``, if the folder tells of one.

    Raises:
        FormatError: a file is damaged.
        UnsupportedError: another way of pooling, or something behind it.
    """
    for module in read_list(folder / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _MODULES:
            raise UnsupportedError(f"{folder / 'modules.json'}: {kind!r} is not supported")
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return {}
    config = read_json(path)
    asked = [
        name
        for name, (word, flag) in _KEYS.items()
        if config.get(flag) is True or config.get("pooling_mode") == word
    ]
    others = [
        key
        for key, value in config.items()
        if value is True
        and key.startswith("pooling_mode_")
        and all(key != flag for _, flag in _KEYS.values())
    ]
    if len(asked) != 1 or others:
        raise UnsupportedError(
            f"{path}: only one of {', '.join(_KEYS)} is supported, not {config!r}"
        )
    return {"pooling_type": _NUMBERS[asked[0]]}
