"""Model files: GGUF bytes to metadata and tensor directory. `llamacpp.format.writer` goes back."""

from llamacpp.format.gguf import TensorInfo
from llamacpp.format.metadata import Metadata, MetadataValue, NumericArray, StringArray
from llamacpp.format.model_file import ModelFile
from llamacpp.format.types import GGMLType, ValueType

__all__ = [
    "GGMLType",
    "Metadata",
    "MetadataValue",
    "ModelFile",
    "NumericArray",
    "StringArray",
    "TensorInfo",
    "ValueType",
]
