"""The live connections of this process, and how the log reaches them."""
