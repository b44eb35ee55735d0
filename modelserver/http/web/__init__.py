"""Pages for people in a browser: the description, and a page to try the model. Nothing of them comes from elsewhere."""
