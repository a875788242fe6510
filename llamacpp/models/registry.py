"""Which module runs which ``general.architecture``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format import ModelFile
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.encoder import Encoder
from llamacpp.models.layers import Network
from llamacpp.models.weights import Weights
from llamacpp.tensors import Tensor, map_tensors

__all__ = ["ARCHITECTURES", "ENCODERS", "load_network"]

ARCHITECTURES = {  # its module, which is loaded for who needs it, and its class there
    "llama": ("llama", "Llama"),
    "qwen2": ("qwen2", "Qwen2"),
    "qwen2moe": ("qwen2moe", "Qwen2MoE"),
    "qwen3": ("qwen3", "Qwen3"),
    "qwen3moe": ("qwen3", "Qwen3"),
    "gemma": ("gemma", "Gemma"),
    "gemma2": ("gemma2", "Gemma2"),
    "gemma3": ("gemma3", "Gemma3"),
    "phi3": ("phi3", "Phi3"),
    "olmo2": ("olmo2", "Olmo2"),
    "granite": ("granite", "Granite"),
    "smollm3": ("smollm3", "SmolLM3"),
    "starcoder2": ("starcoder2", "StarCoder2"),
    "gpt2": ("gpt2", "GPT2"),
    "gpt-oss": ("gpt_oss", "GptOss"),
}
ENCODERS = {  # which give embeddings and no text
    "bert": ("bert", "Bert"),
    "nomic-bert": ("nomic_bert", "NomicBert"),
}


def load_network(file: ModelFile, tensors: Mapping[str, Tensor] | None = None) -> Network:
    """Check the hyperparameters and tensors of a file and prepare its network.

    Args:
        file: the model.
        tensors: its tensors, where not all are used in the mapping.

    Raises:
        UnsupportedError: the architecture, a weight type or an option is not one we run.
        FormatError: hyperparameters, vocabulary and tensors do not fit together.
    """
    name = file.metadata.string("general.architecture")
    modules = ARCHITECTURES | ENCODERS
    if name not in modules:
        known = ", ".join(modules)
        raise UnsupportedError(f"architecture {name!r} is not supported; supported: {known}")
    config = Config.from_metadata(file.metadata)
    _check_layers(file, config.n_layer)
    weights = Weights(map_tensors(file) if tensors is None else tensors)
    module, architecture = modules[name]
    network: type[Decoder | Encoder]
    network = getattr(import_module(f"llamacpp.models.{module}"), architecture)
    return network(config, weights, _vocabulary_size(file))


def _vocabulary_size(file: ModelFile) -> int:
    """Rows of the embedding, which a vocabulary in the file must agree with."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise FormatError("tensor 'token_embd.weight' is missing or not a matrix")
    tokens = file.metadata.strings("tokenizer.ggml.tokens", None)
    if tokens is not None and len(tokens) != embedding.shape[1]:
        raise FormatError(
            f"the vocabulary has {len(tokens)} tokens, but the embedding {embedding.shape[1]} rows"
        )
    return int(embedding.shape[1])


def _check_layers(file: ModelFile, n_layer: int) -> None:
    """Refuse layers that ``block_count`` does not count: the two disagree about the model."""
    for name in file.tensors:
        head, _, rest = name.partition(".")
        index = rest.partition(".")[0]
        if head == "blk" and index.isdecimal() and int(index) >= n_layer:
            raise FormatError(f"tensor {name!r} is beyond the {n_layer} layers of block_count")
