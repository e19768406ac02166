"""What learns: networks, heads, losses, metrics, batches, training, prediction, bundles and presets."""
