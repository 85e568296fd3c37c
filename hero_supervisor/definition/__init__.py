"""The nouns that a runner's definition is made of, as data, each with what makes it valid; ``runner.py`` joins them."""
