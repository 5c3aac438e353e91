"""Tables from stored records; nothing here trains."""
