"""Where the sky comes from: catalogue queries, cutout requests and the rules of politeness."""
