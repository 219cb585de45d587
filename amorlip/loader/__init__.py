"""From shards to batches: reading, decoding, augmenting, tokens."""
