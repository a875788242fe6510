"""Which module runs which ``general.architecture``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format import ModelFile
from llamacpp.models.config import Config
from llamacpp.models.gemma import Gemma
from llamacpp.models.gemma2 import Gemma2
from llamacpp.models.gemma3 import Gemma3
from llamacpp.models.gpt2 import GPT2
from llamacpp.models.granite import Granite
from llamacpp.models.layers import Network
from llamacpp.models.llama import Llama
from llamacpp.models.olmo2 import Olmo2
from llamacpp.models.phi3 import Phi3
from llamacpp.models.qwen2 import Qwen2
from llamacpp.models.qwen3 import Qwen3
from llamacpp.models.smollm3 import SmolLM3
from llamacpp.models.starcoder2 import StarCoder2
from llamacpp.models.weights import Weights
from llamacpp.tensors import Tensor, map_tensors

__all__ = ["ARCHITECTURES", "load_network"]

ARCHITECTURES: dict[str, Callable[[Config, Weights, int], Network]] = {
    "llama": Llama,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "gemma": Gemma,
    "gemma2": Gemma2,
    "gemma3": Gemma3,
    "phi3": Phi3,
    "olmo2": Olmo2,
    "granite": Granite,
    "smollm3": SmolLM3,
    "starcoder2": StarCoder2,
    "gpt2": GPT2,
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
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(f"architecture {name!r} is not supported; supported: {known}")
    config = Config.from_metadata(file.metadata)
    _check_layers(file, config.n_layer)
    weights = Weights(map_tensors(file) if tensors is None else tensors)
    return ARCHITECTURES[name](config, weights, _vocabulary_size(file))


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
