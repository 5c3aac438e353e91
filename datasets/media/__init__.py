"""What turns recordings of one kind of sensor into tensors of a fixed shape."""
