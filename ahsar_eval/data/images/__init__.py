"""Sources of images, and how an image is brought to a network's shape."""
