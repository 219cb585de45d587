"""From sources to shards: packages, pictures, address lists, downloads, manifests, and the loader that reads them."""
