"""What several methods use, each piece written once."""
