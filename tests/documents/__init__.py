"""What the documents tell people to type, and what they say comes of it."""
