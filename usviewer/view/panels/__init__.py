"""What opens beside the picture: source, model, scale, overlay, performance, keys."""
