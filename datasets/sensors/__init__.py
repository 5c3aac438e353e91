"""What the readers of sensor recordings share: tables, resampling, windows, blocks, arrays."""
