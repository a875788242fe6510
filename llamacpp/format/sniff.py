"""Name the files that people most often pass where a GGUF file belongs."""

from __future__ import annotations

from llamacpp.format.header import ByteSource

__all__ = ["LEGACY", "describe_foreign", "is_legacy"]

# Families of 2023, by the first four bytes: a little-endian u32.
LEGACY = {b"lmgg": "ggml", b"fmgg": "ggmf", b"tjgg": "ggjt"}

_NO_MODELS = {
    b"algg": "a ggla LoRA adapter",
    b"nsgg": "a ggsn session, not a model",
}


def is_legacy(source: ByteSource) -> bool:
    """Whether a file begins like one of 2023."""
    magic = bytearray(4)
    source.read_at(0, memoryview(magic))
    return bytes(magic) in LEGACY


def describe_foreign(start: bytes) -> str | None:
    """Say what kind of file begins with `start` (its first 64 bytes or fewer), if it is known."""
    relative = _NO_MODELS.get(start[:4])
    if relative is not None:
        return f"{relative} (magic {start[:4]!r}); take or convert to the model's GGUF file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, the stand-in for a file not yet fetched; run `git lfs pull`"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "a PyTorch checkpoint or zip archive; convert the model to GGUF"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "a safetensors file; convert the model to GGUF"
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return "a web page; the download link led to a page, not to the file"
    return None
