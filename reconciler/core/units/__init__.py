"""Units of this product: their names, paths, addresses, and what systemd says of them."""
