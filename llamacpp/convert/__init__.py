"""From a Hugging Face model, a folder of weights, configuration and tokenizer, to a GGUF file."""

from llamacpp.convert.hf import TYPES, convert_hf

__all__ = ["TYPES", "convert_hf"]
