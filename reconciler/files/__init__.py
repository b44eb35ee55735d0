"""The product's own files: written as a whole, and read as hostile where another user writes them."""
