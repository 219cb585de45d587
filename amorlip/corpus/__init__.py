"""Image-text pairs: lists of addresses, downloads, WebDataset shards, and the manifest of what they hold."""
