"""`Llama`: the face that llama-cpp-python users know, over the engine."""
