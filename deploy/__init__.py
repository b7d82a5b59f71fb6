"""How Liandong is run: the local stack, the demonstration, images and manifests."""
