"""The files of 2023, before GGUF: `ggml`, `ggmf` and `ggjt`, read as if they were GGUF.

    layouts     how each version stored a block, and what becomes of it today
    weights     the tensors of LLaMA: their names then and now, their shapes, how parts split them
    vocabulary  tokens, scores and types, some of which the files only imply
    header      the fields of a file, to metadata in GGUF's keys and a tensor directory
    parts       FILE, FILE.1, ...: one model in several files
    blocks      old blocks rewritten as today's
    convert     all of it into a GGUF file

A `ggjt` file whose blocks are laid out as today's is mapped and run in place.
"""
